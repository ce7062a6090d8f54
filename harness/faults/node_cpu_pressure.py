"""Something on a node eats its processors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _nodes, _units
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, register, require

SAMPLE_S = 0.5


@register
@dataclass(frozen=True, kw_only=True)
class CpuPressure(Fault):
    """Run busy loops on a node.

    Proof: the processor time that they really got within half a second. Control: before, there is nothing that takes any.

    Args:
        node: the node's name.
        workers: how many loops.
    """

    name: ClassVar[str] = "node.cpu-pressure"

    node: str
    workers: int = 2

    def validate(self) -> None:
        """Check the name and the number."""
        _nodes.check_name(self.name, self.node)
        require(1 <= self.workers <= 64, f"{self.name}: workers", self.workers, "1 to 64")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID."""
        return Aim((_nodes.node_target(ctx, self.node),), f"{self.workers} busy loops in a systemd unit")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Stop the unit."""
        return (_units.undo(self.node, aim),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Start the loops."""
        loops = f"for i in $(seq {self.workers}); do while :; do :; done & done; wait"
        _units.start(ctx, self.node, aim, loops, self.max_s)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """How many cores' worth of time the loops get."""
        script = (
            _units.pids_script(aim)
            + "t() { s=0; for p in $pids; do set -- $(cut -d' ' -f14,15 /proc/$p/stat 2>/dev/null)\n"
            + "s=$((s + ${1:-0} + ${2:-0})); done; echo $s; }\n"
            + f"a=$(t); sleep {SAMPLE_S}; b=$(t); echo $((b - a)) $(getconf CLK_TCK)\n"
        )
        words = _nodes.shell(ctx.node(self.node), script).split()
        cores = int(words[0]) / int(words[1]) / SAMPLE_S if len(words) == 2 else 0.0
        evidence: dict[str, Any] = {"cores_taken": round(cores, 2), "loops": self.workers}
        return Seen(cores >= 0.2, evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Units of load."""
        return _units.units(ctx, self.node)
