"""Services of a node's systemd: stopped, seen by asking them on the node, started again by the dead-man."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._wait import Budget
from harness.faults import _nodes
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo


@dataclass(frozen=True, kw_only=True)
class ServiceStop(Fault):
    """Base of the faults that stop a service of a node.

    Proof: it does not answer on the node. Control: another node's does.

    Args:
        node: the node's name.
    """

    needs: ClassVar[tuple[str, ...]] = ("node", "ssh")
    clear: ClassVar[Budget] = Budget(60, every_s=0.3)
    service: ClassVar[str] = ""
    ask: ClassVar[str] = ""  # for a shell on the node: exit code 0 when the service answers
    undo_script: ClassVar[str] = ""

    node: str

    def validate(self) -> None:
        """Check the name."""
        _nodes.check_name(self.name, self.node)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID."""
        return Aim((_nodes.node_target(ctx, self.node),), f"systemctl stop {self.service}")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Start it."""
        return (Undo(self.node, self.undo_script),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Stop it."""
        ctx.node(self.node).run(["systemctl", "stop", f"{self.service}.service"], timeout_s=30)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does it answer?"""
        alive = ctx.node(self.node).run(["sh", "-c", self.ask], check=False).ok
        evidence: dict[str, Any] = {"answers": alive}
        if alive:
            return Seen(False, evidence)
        other = _nodes.control_node(ctx, self.node)
        evidence["control_answers"] = other.run(["sh", "-c", self.ask], check=False).ok if other else "none"
        return Seen(bool(evidence["control_answers"]), evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """The unit's state."""
        state = _nodes.shell(ctx.node(self.node), f"systemctl is-active {self.service}.service")
        return [f"{self.service} {state}"]
