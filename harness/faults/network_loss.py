"""Lose a part of the packets that a workload receives from another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _netns
from harness.faults._model import Aim, FaultContext, Seen, register, require
from harness.faults._paths import PathFault

BURST, ROUNDS = 20, 3  # more at once would be late on a busy machine because of their number alone
CONTROL_LOST = 0.05
ANSWER_S = 0.8  # shorter than TCP's first retransmission after 1 s: one lost packet is one failed connect


@register
@dataclass(frozen=True, kw_only=True)
class Loss(PathFault):
    """Lose each packet that the target receives from `source` with a given probability.

    Proof: the part of TCP connects whose first packet is not answered before its retransmission is `loss_pct`, within four
    standard deviations of a sample of 60 (three bursts of 20). Control: a burst of the same size from the same pod to
    another workload, all but one succeed.

    Args:
        target: whose pods lose packets.
        source: from whom.
        loss_pct: how many of a hundred packets.
        port: where the proof connects to; the target's first declared port when 0.
    """

    name: ClassVar[str] = "network.loss"

    loss_pct: float = 30.0

    def validate(self) -> None:
        """Check the loss and the port."""
        super().validate()
        require(
            10 <= self.loss_pct <= 95, f"{self.name}: loss_pct", self.loss_pct, "10 to 95 (network.partition is 100)"
        )

    def resolve(self, ctx: FaultContext) -> Aim:
        """Both sides' pods, their network namespaces and addresses."""
        return self.aim(ctx, f"iptables statistic, {self.loss_pct:g} %")

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """A rule for each address of the other side."""
        part = f"-m statistic --mode random --probability {self.loss_pct / 100:.4f}"
        rules = [f"-I INPUT -s {ip} {part} -m comment --comment {aim.mark} -j DROP" for ip in aim.facts["peers"]]
        for end in aim.facts["ends"]:
            _netns.run_rules(ctx, end, rules)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """The measured loss against the wanted one."""
        found = _netns.merged([_netns.probe(ctx, aim.facts, count=BURST, each_s=ANSWER_S) for _ in range(ROUNDS)])
        part = self.loss_pct / 100
        tolerance = 4 * math.sqrt(part * (1 - part) / found.tried)
        evidence: dict[str, Any] = {
            "loss_pct": round(found.lost * 100, 1),
            "wanted_pct": self.loss_pct,
            "tolerance_pct": round(tolerance * 100, 1),
            "connects": found.tried,
        }
        if found.lost == 0 or abs(found.lost - part) > tolerance or not _netns.still_there(ctx, aim.facts["ends"]):
            return Seen(False, evidence)
        control = _netns.probe_control(ctx, aim.facts, count=BURST, each_s=ANSWER_S)
        evidence |= {"control": _netns.control_name(aim.facts)}
        if control is not None:
            # A busy machine answers late too: then nothing can be told from lateness.
            evidence["control_loss_pct"] = round(control.lost * 100, 1)
        return Seen(control is None or control.lost <= CONTROL_LOST, evidence)
