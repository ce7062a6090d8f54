"""The power of a node is cut, and comes back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import CommandFailed, UsageError
from harness._wait import Budget
from harness.faults import _nodes
from harness.faults._model import HOST, Aim, Fault, FaultContext, Seen, Undo, register

KUBELET = "http://127.0.0.1:10248/healthz"


@register
@dataclass(frozen=True, kw_only=True)
class PowerOff(Fault):
    """Cut a node's power: nothing is flushed, nobody says goodbye. The revert switches it on.

    Its dead-man lives on the runner's machine, detached from the runner: a node that is off cannot switch itself on.
    Proof: nothing answers at the node's kubelet port, seen from another node. Control: the other node's own does.

    Args:
        node: the node's name.
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
        """The node by UID, its address, and how this provider switches it on."""
        if ctx.cluster.provider != "kind":
            raise UsageError(f"nodes of provider {ctx.cluster.provider!r} cannot be powered from here")
        target = _nodes.node_target(ctx, self.node, worker=True)
        return Aim((target,), "container killed", {"address": _nodes.address(ctx, self.node)})

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Switch it on, and wait for its kubelet."""
        name = shlex.quote(self.node)
        asked = f"docker exec {name} curl -fsS -m 1 -o /dev/null {KUBELET} 2>/dev/null"
        wait = f"i=0; until {asked}; do i=$((i+1)); [ $i -lt 90 ] || exit 1; sleep 0.5; done"
        return (Undo(HOST, f"docker start {name} >/dev/null || exit 1\n{wait}\n"),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Cut it."""
        ctx.node(self.node).power_off()

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does its kubelet answer another node?"""
        other = _nodes.control_node(ctx, self.node)
        if other is None:
            raise UsageError("a cluster of one node has nobody to see that it is off")
        try:
            alive = _nodes.answers(other, f"https://{aim.facts['address']}:10250/")
            control = _nodes.answers(other, "https://127.0.0.1:10250/")
        except CommandFailed:
            alive = control = False
        evidence: dict[str, Any] = {"kubelet_answers": alive, "seen_from": other.name, "control_answers": control}
        return Seen(not alive and control, evidence)
