"""A workload can no longer resolve names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import TargetError
from harness.faults import _netns
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register
from harness.faults._pods import control_pod


@register
@dataclass(frozen=True, kw_only=True)
class DnsFailure(Fault):
    """Drop what the target's pods send to port 53; everything else works.

    Proof: a TCP connect to the cluster's DNS service from the pod's network gets no answer. Control: one from another pod
    does.

    Args:
        target: whose pods cannot resolve names any more.
    """

    name: ClassVar[str] = "network.dns-failure"

    target: Workload

    def resolve(self, ctx: FaultContext) -> Aim:
        """The pods, their network namespaces, and the address of the DNS service."""
        found = _netns.victims(ctx, self.target, "all")
        dns = next(iter(ctx.kube.list("Service", "kube-system", labels="k8s-app=kube-dns")), None)
        if dns is None:
            raise TargetError("the cluster has no DNS service", where="kube-system [k8s-app=kube-dns]")
        other = control_pod(ctx, self.target, node=found[0]["spec"]["nodeName"])
        ends = _netns.ends(ctx, [*found, *([other] if other else [])])
        facts = {
            "ends": ends[: len(found)],
            "dns": dns["spec"]["clusterIP"],
            "control": ends[-1] if other else None,
        }
        return Aim(_netns.hit_targets(ctx, self.target), "iptables DROP of port 53 in the pod's network", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove our rules."""
        return _netns.rules_undo(aim)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Drop port 53, both protocols."""
        tail = f"--dport 53 -m comment --comment {aim.mark} -j DROP"
        for end in aim.facts["ends"]:
            _netns.run_rules(ctx, end, [f"-I OUTPUT -p {protocol} {tail}" for protocol in ("udp", "tcp")])

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does the DNS service answer?"""
        answered = [self._answers(ctx, aim, e) for e in _netns.still_there(ctx, aim.facts["ends"])]
        evidence: dict[str, Any] = {"pods": len(answered), "answered": sum(answered)}
        if any(answered) or not answered:
            return Seen(False, evidence)
        control = aim.facts["control"]
        evidence["control_answered"] = self._answers(ctx, aim, control) if control else "none"
        return Seen(bool(evidence["control_answered"]), evidence)

    @staticmethod
    def _answers(ctx: FaultContext, aim: Aim, end: dict[str, str]) -> bool:
        return _netns.connects(ctx, end["node"], end["netns"], aim.facts["dns"], 53, count=2, each_s=0.7).good > 0

    def missed(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Pods of the target that came since."""
        return _netns.came_since(ctx, self.target, aim)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Rules of ours in these pods' networks."""
        return _netns.rules_with(ctx, aim.facts["ends"])
