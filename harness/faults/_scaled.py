"""A platform component that is down: scaled to zero for as long as the fault is held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import TargetError
from harness._wait import Budget
from harness.faults._kubectl import kubectl_undo, patch_back_line
from harness.faults._model import LABEL, Aim, Fault, FaultContext, Seen, Undo, Workload
from harness.faults._pods import API_OF, is_ready, pods
from harness.targets import resolve

NOTE = "/metadata/annotations/" + LABEL.replace("/", "~1")


@dataclass(frozen=True, kw_only=True)
class Scaled(Fault):
    """Base of the faults that scale a component of the platform to zero.

    Proof: no pod of it is ready. Control: its UID is the same, and the rest of the platform keeps its replicas.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[tuple[str, ...]] = ("patch deployments.apps", "patch statefulsets.apps", "delete pods")
    prove: ClassVar[Budget] = Budget(60, every_s=0.3)
    clear: ClassVar[Budget] = Budget(180, every_s=0.5)

    target: Workload

    def resolve(self, ctx: FaultContext) -> Aim:
        """The workload by UID, and how many replicas it has."""
        found = resolve(ctx.kube, self.target.kind, self.target.name, self.target.namespace)
        ctx.allowed.check(found)
        live = ctx.kube.get(self.target.kind, self.target.name, self.target.namespace, API_OF[self.target.kind]) or {}
        replicas = live.get("spec", {}).get("replicas", 1)
        if not replicas:
            raise TargetError("it is scaled to zero already", where=str(self.target))
        facts = {"replicas": replicas, "annotated": bool(live["metadata"].get("annotations"))}
        return Aim((found,), f"scaled from {replicas} to 0", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Scale it back, if the note says that it was us."""
        back: list[dict[str, Any]] = [
            {"op": "remove", "path": NOTE},
            {"op": "replace", "path": "/spec/replicas", "value": aim.facts["replicas"]},
        ]
        name = f"{self.target.kind.lower()}s.apps"
        line = patch_back_line(
            name, self.target.name, self.target.namespace, aim.targets[0].uid, [(NOTE, aim.id)], back
        )
        return (kubectl_undo(ctx, line),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Scale it to zero, with a note that says who did."""
        body = {"metadata": {"annotations": {LABEL: aim.id}}, "spec": {"replicas": 0}}
        ctx.kube.patch(
            self.target.kind, self.target.name, self.target.namespace, body, api_version=API_OF[self.target.kind]
        )
        for pod in pods(ctx, self.target):
            meta = pod["metadata"]
            ctx.kube.delete("Pod", meta["name"], meta["namespace"], uid=meta["uid"], grace_s=1)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Is any pod of it ready?"""
        found = pods(ctx, self.target)
        ready = [p for p in found if is_ready(p)]
        return Seen(not ready, {"pods": len(found), "ready": len(ready), "replicas_before": aim.facts["replicas"]})

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Replicas and notes of the workload."""
        live = ctx.kube.get(self.target.kind, self.target.name, self.target.namespace, API_OF[self.target.kind]) or {}
        notes = (live.get("metadata") or {}).get("annotations") or {}
        return [f"replicas {live.get('spec', {}).get('replicas')}", *(["note"] if LABEL in notes else [])]
