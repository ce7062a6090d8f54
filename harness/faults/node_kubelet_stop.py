"""The kubelet of a node stops; its pods go on, unwatched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._wait import Budget
from harness.faults import _nodes
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, register

HEALTH = "http://127.0.0.1:10248/healthz"


@register
@dataclass(frozen=True, kw_only=True)
class KubeletStop(Fault):
    """Stop the kubelet. After a grace period the node is NotReady and its pods are evicted.

    Proof: the kubelet's health port does not answer on the node. Control: another node's does.

    Args:
        node: the node's name.
    """

    name: ClassVar[str] = "node.kubelet-stop"
    needs: ClassVar[tuple[str, ...]] = ("node", "ssh")
    clear: ClassVar[Budget] = Budget(60, every_s=0.3)

    node: str

    def validate(self) -> None:
        """Check the name."""
        _nodes.check_name(self.name, self.node)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID."""
        return Aim((_nodes.node_target(ctx, self.node),), "systemctl stop kubelet")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Start it."""
        return (Undo(self.node, "systemctl start kubelet.service && systemctl -q is-active kubelet.service\n"),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Stop it."""
        ctx.node(self.node).run(["systemctl", "stop", "kubelet.service"], timeout_s=30)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does its health port answer?"""
        alive = _nodes.answers(ctx.node(self.node), HEALTH)
        evidence: dict[str, Any] = {"healthz_answers": alive}
        if alive:
            return Seen(False, evidence)
        other = _nodes.control_node(ctx, self.node)
        evidence["control_answers"] = _nodes.answers(other, HEALTH) if other else "none"
        return Seen(bool(evidence["control_answers"]), evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """The unit's state."""
        return [f"kubelet {_nodes.shell(ctx.node(self.node), 'systemctl is-active kubelet.service')}"]
