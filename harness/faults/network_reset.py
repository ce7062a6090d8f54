"""Connections to a workload are reset: refused at once, and open ones broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _netns
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register, require

AT_ONCE_MS = 700


@register
@dataclass(frozen=True, kw_only=True)
class Reset(Fault):
    """Answer what `source` sends to the target with TCP resets.

    Proof: connects fail at once, not by a time-out. Control: the same pod still reaches another workload.

    Args:
        target: whose pods answer so.
        source: to whom.
        port: where the proof connects to; the target's first declared port when 0.
    """

    name: ClassVar[str] = "network.reset"

    target: Workload
    source: Workload
    port: int = 0

    def validate(self) -> None:
        """Check the port."""
        require(0 <= self.port <= 65535, f"{self.name}: port", self.port, "0 to 65535")

    def resolve(self, ctx: FaultContext) -> Aim:
        """Both sides' pods, their network namespaces and addresses."""
        facts = _netns.between(ctx, self.source, self.target, self.port)
        return Aim(_netns.hit_targets(ctx, self.target), "iptables REJECT --reject-with tcp-reset", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove our rules."""
        return _netns.rules_undo(aim)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """A rule for each address of the other side."""
        tail = f"-m comment --comment {aim.mark} -j REJECT --reject-with tcp-reset"
        rules = [f"-I INPUT -p tcp -s {ip} {tail}" for ip in aim.facts["peers"]]
        for end in aim.facts["ends"]:
            _netns.run_rules(ctx, end, rules)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Are connects refused, and quickly?"""
        found = _netns.probe(ctx, aim.facts, count=2, each_s=2)
        quick = bool(found.bad_ms) and max(found.bad_ms) < AT_ONCE_MS
        evidence: dict[str, Any] = {
            "connects": found.tried,
            "refused": len(found.bad_ms),
            "refused_ms": list(found.bad_ms),
        }
        if found.good or not quick:
            return Seen(False, evidence)
        evidence |= {"control": _netns.control_name(aim.facts), "control_good": _netns.control_good(ctx, aim.facts)}
        return Seen(evidence["control_good"], evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Rules of ours in these pods' networks."""
        return _netns.rules_with(ctx, aim.facts["ends"])
