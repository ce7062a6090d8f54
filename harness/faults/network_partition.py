"""Cut the network between two workloads: packets vanish, in one direction or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults import _netns
from harness.faults._model import Aim, FaultContext, register, require
from harness.faults._paths import PathFault

DIRECTIONS = ("both", "in", "out")


@register
@dataclass(frozen=True, kw_only=True)
class Partition(PathFault):
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

    direction: str = "both"

    def validate(self) -> None:
        """Check the direction and the port."""
        super().validate()
        require(self.direction in DIRECTIONS, f"{self.name}: direction", self.direction, ", ".join(DIRECTIONS))

    def resolve(self, ctx: FaultContext) -> Aim:
        """Both sides' pods, their network namespaces and addresses."""
        return self.aim(ctx, f"iptables DROP in the pod's network, {self.direction}")

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
