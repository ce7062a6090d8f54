"""A node reboots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness._errors import CommandFailed
from harness._wait import Budget
from harness.faults import _nodes
from harness.faults._model import Aim, Fault, FaultContext, Seen, register

STARTED = "cut -d' ' -f22 /proc/1/stat\n"


@register
@dataclass(frozen=True, kw_only=True)
class Reboot(Fault):
    """Restart a node at once. It comes back by itself: nothing is reverted.

    Proof: its first process has another start time. Control: another node's has not.

    Args:
        node: the node's name.
    """

    name: ClassVar[str] = "node.reboot"
    needs: ClassVar[tuple[str, ...]] = ("node", "power")
    one_shot: ClassVar[bool] = True
    prove: ClassVar[Budget] = Budget(60, every_s=0.3)

    node: str

    def validate(self) -> None:
        """Check the name."""
        _nodes.check_name(self.name, self.node)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID, and since when its first process runs."""
        target = _nodes.node_target(ctx, self.node, worker=True)
        other = _nodes.control_node(ctx, self.node)
        facts = {"started": _nodes.shell(ctx.node(self.node), STARTED), "control": other.name if other else ""}
        if other:
            facts["control_started"] = _nodes.shell(other, STARTED)
        return Aim((target,), f"{ctx.cluster.provider} restart", facts)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Restart it."""
        ctx.node(self.node).reboot()

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Has it been started anew?"""
        try:
            now = _nodes.shell(ctx.node(self.node), STARTED)
        except CommandFailed:
            now = ""
        same = True
        if aim.facts["control"]:
            same = _nodes.shell(ctx.node(aim.facts["control"]), STARTED) == aim.facts["control_started"]
        evidence = {"started_before": aim.facts["started"], "started_now": now, "control_same": same}
        return Seen(bool(now) and now != aim.facts["started"] and same, evidence)
