"""A node is drained for maintenance: cordoned, and its pods evicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._wait import Budget
from harness.faults import _nodes
from harness.faults._kubectl import kubectl_undo, patch_back_line
from harness.faults._model import LABEL, Aim, Fault, FaultContext, Seen, Undo, register
from harness.kube import Manifest

NOTE = "/metadata/annotations/" + LABEL.replace("/", "~1")
REFUSED_FOR_NOW = 429  # a disruption budget says: not now


@register
@dataclass(frozen=True, kw_only=True)
class Drain(Fault):
    """Cordon a node and evict its pods, as `kubectl drain` does; disruption budgets are honoured. The revert uncordons.

    Proof: the node is unschedulable and none of the pods that were on it is there any more (DaemonSets stay). Control: no
    other node has been cordoned.

    Args:
        node: the worker's name.
    """

    name: ClassVar[str] = "node.drain"
    api: ClassVar[tuple[str, ...]] = (
        "patch nodes",
        "create pods/eviction",
    )
    prove: ClassVar[Budget] = Budget(120, every_s=0.5)

    node: str

    def validate(self) -> None:
        """Check the name."""
        _nodes.check_name(self.name, self.node)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID, and the pods that are to go."""
        target = _nodes.node_target(ctx, self.node, worker=True)
        return Aim((target,), "cordon + evictions", {"pods": [p["metadata"]["uid"] for p in self._pods(ctx)]})

    def _pods(self, ctx: FaultContext) -> list[Manifest]:
        stay = {"DaemonSet", "Node"}
        return [
            p
            for p in ctx.kube.list("Pod")
            if p["spec"].get("nodeName") == self.node
            and p["status"].get("phase") in ("Running", "Pending")
            and not stay & {o["kind"] for o in p["metadata"].get("ownerReferences") or []}
        ]

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Uncordon, if the cordon is ours."""
        back = [{"op": "remove", "path": NOTE}, {"op": "remove", "path": "/spec/unschedulable"}]
        return (kubectl_undo(ctx, patch_back_line("node", self.node, "", aim.targets[0].uid, [(NOTE, aim.id)], back)),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Cordon, and ask for each eviction once; those that are refused for now are asked for again while proving."""
        note = {"metadata": {"annotations": {LABEL: aim.id}}, "spec": {"unschedulable": True}}
        ctx.kube.patch("Node", self.node, None, note)
        self._evict(ctx, aim)

    def _evict(self, ctx: FaultContext, aim: Aim) -> None:
        from kubernetes.client import ApiException

        for pod in self._pods(ctx):
            meta = pod["metadata"]
            if meta["uid"] not in aim.facts["pods"] or meta.get("deletionTimestamp"):
                continue
            body = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
                "deleteOptions": {"preconditions": {"uid": meta["uid"]}},
            }
            try:
                ctx.kube.core.create_namespaced_pod_eviction(meta["name"], meta["namespace"], body, _request_timeout=10)
            except ApiException as err:
                if err.status not in (REFUSED_FOR_NOW, 404, 409):
                    raise

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Is it cordoned and empty?"""
        nodes = {n["metadata"]["name"]: n for n in ctx.kube.list("Node")}
        mine = nodes.pop(self.node, {})
        cordoned = bool(mine.get("spec", {}).get("unschedulable"))
        left = [p for p in self._pods(ctx) if p["metadata"]["uid"] in aim.facts["pods"]]
        others = [n for n, body in nodes.items() if body["spec"].get("unschedulable")]
        evidence: dict[str, Any] = {
            "cordoned": cordoned,
            "pods_left": len(left),
            "of": len(aim.facts["pods"]),
            "others_cordoned": others,
        }
        if cordoned and left and (mine["metadata"].get("annotations") or {}).get(LABEL) == aim.id:
            self._evict(ctx, aim)
        return Seen(cordoned and not left and not others, evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Cordons, and notes of ours on nodes."""
        found = []
        for node in ctx.kube.list("Node"):
            name = node["metadata"]["name"]
            found += [f"{name} unschedulable"] if node["spec"].get("unschedulable") else []
            found += [f"{name} note"] if LABEL in (node["metadata"].get("annotations") or {}) else []
        return found
