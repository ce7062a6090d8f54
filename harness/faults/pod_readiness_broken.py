"""Readiness broken: a workload works, but its probes say that it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import TargetError
from harness._wait import Budget
from harness.faults import _netns
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register
from harness.faults._pods import is_ready
from harness.kube import Manifest


@register
@dataclass(frozen=True, kw_only=True)
class ReadinessBroken(Fault):
    """Drop what reaches a workload's pods from their own node, which is where the kubelet's probes come from.

    The pods are taken out of their Service though they work; a liveness probe over the network fails as well, in its own
    time. A probe that runs a command in the container is not broken by this, and refused.
    Proof: Kubernetes says that the pods are not ready, while they answer other pods. Control: the workload `source` still
    reaches them, and stays ready itself.

    Args:
        target: the workload.
        source: a workload that may talk to it.
    """

    name: ClassVar[str] = "pod.readiness-broken"
    prove: ClassVar[Budget] = Budget(90, every_s=0.5)

    target: Workload
    source: Workload

    def resolve(self, ctx: FaultContext) -> Aim:
        """The pods, their nodes' addresses as they see them, and a caller as the control."""
        facts = _netns.between(ctx, self.source, self.target, 0)
        for pod in self._pods(ctx):
            probes = [c["readinessProbe"] for c in pod["spec"]["containers"] if c.get("readinessProbe")]
            if not probes or any("exec" in p for p in probes):
                raise TargetError("the pod has no readiness probe over the network", where=pod["metadata"]["name"])
            if not is_ready(pod):
                raise TargetError("the pod is not ready as it is", where=pod["metadata"]["name"])
        mechanism = "iptables DROP of the node's own packets in the pod's network namespace"
        return Aim(_netns.hit_targets(ctx, self.target), mechanism, facts)

    def _pods(self, ctx: FaultContext) -> list[Manifest]:
        return ctx.kube.list("Pod", self.target.namespace, labels=self.target.labels)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove our rules."""
        return _netns.rules_undo(aim)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Drop what comes from the node, whichever of its addresses it uses for this pod."""
        for end in aim.facts["ends"]:
            for address in self._node_addresses(ctx, end):
                rule = f"-I INPUT -s {address} -m comment --comment {aim.mark} -j DROP"
                _netns.run_rules(ctx, end, [rule])

    @staticmethod
    def _node_addresses(ctx: FaultContext, end: dict[str, str]) -> list[str]:
        script = f"ip -4 -o addr show scope global | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1; ip route get {end['ip']}"
        out = ctx.node(end["node"]).run(["sh", "-c", script]).out
        words = out.split()
        listed = [w for w in words[: words.index(end["ip"])] if w.count(".") == 3]
        chosen = words[words.index("src") + 1 :][:1] if "src" in words else []
        return list(dict.fromkeys([*chosen, *listed]))

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Are the pods that were hit not ready, while a caller reaches them?"""
        hit = {t.uid for t in aim.targets}
        states = [is_ready(p) for p in self._pods(ctx) if p["metadata"]["uid"] in hit]
        evidence: dict[str, Any] = {"ready": sum(states), "of": len(states)}
        if any(states) or not states:
            return Seen(False, evidence)
        evidence["reached_by_source"] = _netns.probe(ctx, aim.facts, count=2).lost == 0
        return Seen(evidence["reached_by_source"], evidence)

    def missed(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Pods of the target that came since."""
        return _netns.came_since(ctx, self.target, aim)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Rules of ours in these pods' networks."""
        return _netns.rules_with(ctx, aim.facts["ends"])
