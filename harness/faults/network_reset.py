"""Connections to a workload are reset: refused at once, and open ones broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _netns
from harness.faults._model import Aim, FaultContext, Seen, register
from harness.faults._paths import PathFault

AT_ONCE_MS = 700


@register
@dataclass(frozen=True, kw_only=True)
class Reset(PathFault):
    """Answer what `source` sends to the target with TCP resets.

    Proof: connects fail at once, not by a time-out. Control: the same pod still reaches another workload.

    Args:
        target: whose pods answer so.
        source: to whom.
        port: where the proof connects to; the target's first declared port when 0.
    """

    name: ClassVar[str] = "network.reset"

    def resolve(self, ctx: FaultContext) -> Aim:
        """Both sides' pods, their network namespaces and addresses."""
        return self.aim(ctx, "iptables REJECT --reject-with tcp-reset")

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
        if found.good or not quick or not _netns.still_there(ctx, aim.facts["ends"]):
            return Seen(False, evidence)
        evidence |= {"control": _netns.control_name(aim.facts), "control_good": _netns.control_good(ctx, aim.facts)}
        return Seen(evidence["control_good"], evidence)
