"""A node cannot reach the control plane, nor be reached by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _netns, _nodes
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, register

API_PORT = 6443


@register
@dataclass(frozen=True, kw_only=True)
class Isolation(Fault):
    """Drop all packets between a worker and the control-plane node. Users may still be served by its pods.

    Proof: a TCP connect from the node to the API server gets no answer. Control: one from another node does.

    Args:
        node: the worker's name.
    """

    name: ClassVar[str] = "node.isolation"
    needs: ClassVar[tuple[str, ...]] = ("node", "ssh")

    node: str

    def validate(self) -> None:
        """Check the name."""
        _nodes.check_name(self.name, self.node)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID, and the address of the control plane."""
        target = _nodes.node_target(ctx, self.node, worker=True)
        facts = {"api": _nodes.address(ctx, ctx.cluster.control_plane.name)}
        return Aim((target,), "iptables raw DROP on the node", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove our rules."""
        return (Undo(self.node, _netns.remove_rules_script("", aim.mark)),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Two rules, before connection tracking, so that open connections are cut too."""
        tail = f"-m comment --comment {aim.mark} -j DROP"
        api = aim.facts["api"]
        lines = [
            f"iptables -w 5 -t raw -I PREROUTING -s {api} {tail}",
            f"iptables -w 5 -t raw -I OUTPUT -d {api} {tail}",
        ]
        ctx.node(self.node).run(["sh"], stdin="set -e\n" + "\n".join(lines) + "\n")

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does the API server answer the node?"""
        api = aim.facts["api"]
        found = _netns.connects(ctx, self.node, "", api, API_PORT, count=2, each_s=0.8)
        evidence: dict[str, Any] = {"connects": found.tried, "answered": found.good}
        if found.good:
            return Seen(False, evidence)
        other = next((n for n in ctx.cluster.workers if n.name != self.node), ctx.cluster.control_plane)
        control = _netns.connects(ctx, other.name, "", api, API_PORT, count=2, each_s=2)
        evidence |= {"control": other.name, "control_answered": control.good}
        return Seen(control.good > 0, evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Rules of ours on the node."""
        return _nodes.shell(ctx.node(self.node), "iptables-save | grep -F -- '--comment rh-' || :\n").splitlines()
