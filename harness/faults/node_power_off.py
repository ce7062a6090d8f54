"""The power of a node is cut, and comes back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import CommandFailed, UsageError
from harness._wait import Budget
from harness.clusters._power import need
from harness.faults import _nodes
from harness.faults._model import HOST, Aim, Fault, FaultContext, Seen, Undo, register

KUBELET_PORT = 10250


@register
@dataclass(frozen=True, kw_only=True)
class PowerOff(Fault):
    """Cut a node's power: nothing is flushed, nobody says goodbye. The revert switches it on.

    Its dead-man lives on the runner's machine, detached from the runner: a node that is off cannot switch itself on.
    Proof: nothing answers at the node's kubelet port, seen from another node. Control: the other node's own does.

    Args:
        node: the node's name: a worker, or one of three control planes but the first.
    """

    name: ClassVar[str] = "node.power-off"
    needs: ClassVar[tuple[str, ...]] = ("node", "power")
    prove: ClassVar[Budget] = Budget(30, every_s=0.3)
    clear: ClassVar[Budget] = Budget(120, every_s=0.5)

    node: str

    def validate(self) -> None:
        """Check the name."""
        _nodes.check_name(self.name, self.node)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID, its address, and what switches it on."""
        target = _nodes.node_target(ctx, self.node, worker=True)
        power = need(ctx.node(self.node).power, self.node)
        facts = {"address": _nodes.address(ctx, self.node), "on": list(power.on)}
        return Aim((target,), shlex.join(power.off), facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Switch it on, and wait for its kubelet."""
        asked = f"timeout 1 bash -c '</dev/tcp/{aim.facts['address']}/{KUBELET_PORT}' 2>/dev/null"
        wait = f"i=0; until {asked}; do i=$((i+1)); [ $i -lt 120 ] || exit 1; sleep 0.5; done"
        on = shlex.join(aim.facts["on"])
        # Some switches say no to a machine that is on already: what counts is that its kubelet answers.
        return (Undo(HOST, f"{asked} && exit 0\n{on} >/dev/null || exit 1\n{wait}\n"),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Cut it."""
        ctx.node(self.node).power_off()

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does its kubelet answer another node?"""
        other = _nodes.control_node(ctx, self.node)
        if other is None:
            raise UsageError("a cluster of one node has nobody to see that it is off")
        try:
            alive = _nodes.answers(other, f"https://{aim.facts['address']}:{KUBELET_PORT}/")
            control = _nodes.answers(other, f"https://127.0.0.1:{KUBELET_PORT}/")
        except CommandFailed:
            alive = control = False
        evidence: dict[str, Any] = {"kubelet_answers": alive, "seen_from": other.name, "control_answers": control}
        return Seen(not alive and control, evidence)
