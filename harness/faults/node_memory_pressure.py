"""Something on a node eats its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import TargetError
from harness.faults import _nodes, _units
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, register, require

SPARE_MB = 1024


@register
@dataclass(frozen=True, kw_only=True)
class MemoryPressure(Fault):
    """Hold memory on a node: anonymous, so that it cannot be written away; the kernel may kill it first of all.

    Proof: the resident memory of the process that holds it.

    Args:
        node: the node's name.
        size_mb: how much; refused when less than 1 GiB would stay available.
    """

    name: ClassVar[str] = "node.memory-pressure"

    node: str
    size_mb: int = 512

    def validate(self) -> None:
        """Check the name and the size."""
        _nodes.check_name(self.name, self.node)
        require(16 <= self.size_mb <= 1 << 20, f"{self.name}: size_mb", self.size_mb, "16 to 1048576")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID; it must have that much."""
        target = _nodes.node_target(ctx, self.node)
        free = int(
            _nodes.shell(ctx.node(self.node), "awk '/^MemAvailable/ {print int($2 / 1024)}' /proc/meminfo\n") or 0
        )
        if free - self.size_mb < SPARE_MB:
            raise TargetError(
                f"{self.size_mb} MB would leave less than {SPARE_MB} MB", where=self.node, last=f"{free} MB available"
            )
        return Aim((target,), f"{self.size_mb} MB held in a systemd unit")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Stop the unit."""
        return (_units.undo(self.node, aim),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """`tail` keeps a line without an end in memory."""
        _units.start(
            ctx, self.node, aim, f"{{ head -c {self.size_mb}M /dev/zero; sleep infinity; }} | tail", self.max_s
        )

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """How much it holds."""
        rss = "for p in $pids; do awk '/^VmRSS/ {print $2}' /proc/$p/status 2>/dev/null; done | sort -n | tail -1\n"
        held_mb = int(_nodes.shell(ctx.node(self.node), _units.pids_script(aim) + rss) or 0) // 1024
        evidence: dict[str, Any] = {"held_mb": held_mb, "wanted_mb": self.size_mb}
        return Seen(held_mb >= 0.9 * self.size_mb, evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Units of load."""
        return _units.units(ctx, self.node)
