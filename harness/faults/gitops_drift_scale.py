"""Drift by scaling: somebody runs `kubectl scale`, and Git says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness._errors import TargetError
from harness.faults import _drift
from harness.faults._kubectl import kubectl_undo, patch_back_line
from harness.faults._model import Aim, Fault, FaultContext, Object, Seen, Undo, Workload, register, require
from harness.targets import Target


@register
@dataclass(frozen=True, kw_only=True)
class DriftScale(Fault):
    """Scale a workload by hand, through its `scale` subresource. GitOps should put it back; the revert does when nobody has.

    Proof: the number reads as we wrote it, or the object's generation has moved on. Control: its UID is the same.

    Args:
        target: the workload; a Deployment or a StatefulSet.
        replicas: how many pods it is told to have; 0 is an outage.
    """

    name: ClassVar[str] = "gitops.drift-scale"
    needs: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[tuple[str, ...]] = (
        "patch deployments.apps",
        "patch deployments.apps/scale",
        "patch statefulsets.apps",
        "patch statefulsets.apps/scale",
    )

    target: Workload
    replicas: int = 0

    def validate(self) -> None:
        """Check kind and number."""
        require(self.target.kind != "DaemonSet", f"{self.name}: target", self.target.kind, "Deployment, StatefulSet")
        require(0 <= self.replicas <= 50, f"{self.name}: replicas", self.replicas, "0 to 50")

    @property
    def _object(self) -> Object:
        return Object(self.target.kind, self.target.namespace, self.target.name)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The workload, and how many pods Git gave it."""
        live = _drift.live_object(ctx, self._object)
        before = int(live["spec"].get("replicas", 1))
        if before == self.replicas:
            raise TargetError(f"it has {self.replicas} replicas already: no drift", where=str(self.target))
        target = Target(self.target.kind, self.target.namespace, self.target.name, live["metadata"]["uid"])
        facts = {"before": before, "generation": live["metadata"].get("generation", 0)}
        return Aim((target,), f"scale {before} -> {self.replicas}", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Put the number back, if ours is still there on that very object."""
        name = _drift.resource(self.target.kind)[0]
        back = {"op": "replace", "path": "/spec/replicas", "value": aim.facts["before"]}
        ours = [("/spec/replicas", self.replicas)]
        line = patch_back_line(name, self.target.name, self.target.namespace, aim.targets[0].uid, ours, [back])
        return (kubectl_undo(ctx, line),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Scale, and mark in the history that the API accepted it."""
        body = {"metadata": {"uid": aim.targets[0].uid}, "spec": {"replicas": self.replicas}}
        scale = f"patch_namespaced_{'deployment' if self.target.kind == 'Deployment' else 'stateful_set'}_scale"
        getattr(ctx.kube.apps, scale)(self.target.name, self.target.namespace, body, _request_timeout=15)
        _drift.accepted(ctx, aim, aim.mechanism)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does it ask for our number, or did it for a moment?"""
        live = _drift.get(ctx, self._object) or {"metadata": {}, "spec": {}}
        now, generation = live["spec"].get("replicas"), live["metadata"].get("generation", 0)
        same = live["metadata"].get("uid") == aim.targets[0].uid
        evidence = {"replicas": now, "generation": generation, "generation_before": aim.facts["generation"]}
        return Seen(same and now == self.replicas, evidence, bit=same and generation > aim.facts["generation"])
