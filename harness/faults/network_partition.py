"""Cut the network between two workloads: packets vanish, in one direction or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _netns
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register, require

DIRECTIONS = ("both", "in", "out")


@register
@dataclass(frozen=True, kw_only=True)
class Partition(Fault):
    """Drop the packets between two workloads, open connections included.

    Proof: TCP connects from a pod of `source` to the target's pods get no answer. Control: the same pod still reaches a
    pod of another workload.

    Args:
        target: whose pods lose packets.
        source: from whom.
        direction: `both`, `in` (what the target receives) or `out` (what it sends).
        port: where the proof connects to; the target's first declared port when 0.
    """

    name: ClassVar[str] = "network.partition"

    target: Workload
    source: Workload
    direction: str = "both"
    port: int = 0

    def validate(self) -> None:
        """Check the direction and the port."""
        require(self.direction in DIRECTIONS, f"{self.name}: direction", self.direction, ", ".join(DIRECTIONS))
        require(0 <= self.port <= 65535, f"{self.name}: port", self.port, "0 to 65535")

    def resolve(self, ctx: FaultContext) -> Aim:
        """Both sides' pods, their network namespaces and addresses."""
        facts = _netns.between(ctx, self.source, self.target, self.port)
        return Aim(_netns.hit_targets(ctx, self.target), f"iptables DROP in the pod's network, {self.direction}", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove our rules."""
        return _netns.rules_undo(aim)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """A rule for each address and direction."""
        rules = []
        for ip in aim.facts["peers"]:
            if self.direction in ("both", "in"):
                rules.append(f"-I INPUT -s {ip} -m comment --comment {aim.mark} -j DROP")
            if self.direction in ("both", "out"):
                rules.append(f"-I OUTPUT -d {ip} -m comment --comment {aim.mark} -j DROP")
        for end in aim.facts["ends"]:
            _netns.run_rules(ctx, end, rules)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does a connect get through?"""
        found = _netns.probe(ctx, aim.facts, count=2, each_s=0.7)
        evidence: dict[str, Any] = {"connects": found.tried, "answered": found.good}
        if found.good:
            return Seen(False, evidence)
        evidence |= {"control": _netns.control_name(aim.facts), "control_good": _netns.control_good(ctx, aim.facts)}
        return Seen(evidence["control_good"], evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Rules of ours in these pods' networks."""
        return _netns.rules_with(ctx, aim.facts["ends"])
