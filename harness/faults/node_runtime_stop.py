"""The container runtime of a node stops: containers run on, but none can be started, stopped or asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._wait import Budget
from harness.faults import _nodes
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, register

ASK = "timeout 2 ctr --connect-timeout 1s version >/dev/null 2>&1 && echo yes\n"


@register
@dataclass(frozen=True, kw_only=True)
class RuntimeStop(Fault):
    """Stop containerd.

    Proof: the runtime's socket does not answer on the node. Control: another node's does.

    Args:
        node: the node's name.
    """

    name: ClassVar[str] = "node.runtime-stop"
    needs: ClassVar[tuple[str, ...]] = ("node", "ssh")
    clear: ClassVar[Budget] = Budget(60, every_s=0.3)

    node: str

    def validate(self) -> None:
        """Check the name."""
        _nodes.check_name(self.name, self.node)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID."""
        return Aim((_nodes.node_target(ctx, self.node),), "systemctl stop containerd")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Start it, and the kubelet in case that went with it."""
        return (
            Undo(self.node, "systemctl start containerd.service kubelet.service && timeout 5 ctr version >/dev/null\n"),
        )

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Stop it."""
        ctx.node(self.node).run(["systemctl", "stop", "containerd.service"], timeout_s=30)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does its socket answer?"""
        alive = _nodes.shell(ctx.node(self.node), ASK) == "yes"
        evidence: dict[str, Any] = {"runtime_answers": alive}
        if alive:
            return Seen(False, evidence)
        other = _nodes.control_node(ctx, self.node)
        evidence["control_answers"] = _nodes.shell(other, ASK) == "yes" if other else "none"
        return Seen(bool(evidence["control_answers"]), evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """The units' states."""
        return [f"containerd {_nodes.shell(ctx.node(self.node), 'systemctl is-active containerd.service')}"]
