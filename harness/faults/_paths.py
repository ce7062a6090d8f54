"""What the faults on the path between two workloads share: who is hit, rules in the targets' pods, connects as the proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.faults import _netns
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, require

ANSWER_S = (
    0.5  # a connect inside a cluster takes a few milliseconds; the control shows that the machine is not just slow
)


@dataclass(frozen=True, kw_only=True)
class PathFault(Fault):
    """Base of the faults between `source` and the target's pods; unless a fault says otherwise, nothing gets through.

    Proof: TCP connects from a pod of `source` to the target's pods get no answer. Control: the same pod still reaches a
    pod of another workload.

    Args:
        target: whose pods are hit.
        source: from whose pod the proof connects.
        port: where to; the target's first declared port when 0.
    """

    target: Workload
    source: Workload
    port: int = 0

    def validate(self) -> None:
        """Check the port."""
        require(0 <= self.port <= 65535, f"{self.name}: port", self.port, "0 to 65535")

    def aim(self, ctx: FaultContext, mechanism: str) -> Aim:
        """Both sides' pods, their network namespaces and addresses."""
        facts = _netns.between(ctx, self.source, self.target, self.port)
        return Aim(_netns.hit_targets(ctx, self.target), mechanism, facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove our rules."""
        return _netns.rules_undo(aim)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does a connect get through?"""
        found = _netns.probe(ctx, aim.facts, count=2, each_s=ANSWER_S)
        evidence: dict[str, Any] = {"connects": found.tried, "answered": found.good}
        if found.good:
            return Seen(False, evidence)
        there, good = _netns.there_and_control(ctx, aim.facts)
        evidence |= {"control": _netns.control_name(aim.facts), "control_good": good}
        return Seen(there and good, evidence)

    def missed(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Pods of the target that came while the rules were set in the others."""
        return _netns.came_since(ctx, self.target, aim)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Rules of ours in these pods' networks."""
        return _netns.rules_with(ctx, aim.facts["ends"])
