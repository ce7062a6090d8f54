"""A node's disk fills up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness._errors import TargetError
from harness.faults import _nodes
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, register, require

FOLDER = "/var/lib"
SPARE_MB = 2048


@register
@dataclass(frozen=True, kw_only=True)
class DiskFill(Fault):
    """Take space on the disk that holds images, containers and logs.

    Proof: the file system has less space available than before, by what was asked for within 10 %.

    Args:
        node: the node's name.
        size_mb: how much; refused when less than 2 GiB would stay, for in containers the nodes share one disk.
    """

    name: ClassVar[str] = "node.disk-fill"

    node: str
    size_mb: int = 1024

    def validate(self) -> None:
        """Check the name and the size."""
        _nodes.check_name(self.name, self.node)
        require(64 <= self.size_mb <= 1 << 24, f"{self.name}: size_mb", self.size_mb, "64 to 16777216")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The node by UID; it must have that much space."""
        target = _nodes.node_target(ctx, self.node)
        free = self._free_mb(ctx)
        if free - self.size_mb < SPARE_MB:
            raise TargetError(
                f"{self.size_mb} MB would leave less than {SPARE_MB} MB", where=self.node, last=f"{free} MB available"
            )
        return Aim((target,), f"fallocate under {FOLDER}", {"free_mb": free})

    def _free_mb(self, ctx: FaultContext) -> int:
        return int(_nodes.shell(ctx.node(self.node), f"df -m --output=avail {FOLDER} | tail -1\n") or 0)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove the file."""
        return (Undo(self.node, f"rm -f {FOLDER}/{aim.mark}.fill\n"),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Allocate the file."""
        ctx.node(self.node).run(["fallocate", "-l", f"{self.size_mb}M", f"{FOLDER}/{aim.mark}.fill"], timeout_s=60)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """How much space is missing."""
        missing = aim.facts["free_mb"] - self._free_mb(ctx)
        return Seen(missing >= 0.9 * self.size_mb, {"missing_mb": missing, "wanted_mb": self.size_mb})

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Files of this kind."""
        return _nodes.shell(ctx.node(self.node), f"ls {FOLDER}/rh-*.fill 2>/dev/null || :\n").split()
