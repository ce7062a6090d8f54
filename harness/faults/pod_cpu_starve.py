"""CPU starvation: a container gets next to no time on the processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import TargetError
from harness.faults import _containers, _nodetool
from harness.faults._containers import Box
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register, require

PERIOD_US = 100_000


@register
@dataclass(frozen=True, kw_only=True)
class CpuStarve(Fault):
    """Limit the first container of a workload's pods to a sliver of one core, in its own control group.

    Proof: a probe that needs 20 ms of CPU time, run inside the container's group, gets a share of at most three times
    what was set. Control: the same in another pod's group gets at least three times as much.

    Args:
        target: the workload.
        cpu_pct: per cent of one core that is left.
        which: `one` (the oldest pod) or `all`.
    """

    name: ClassVar[str] = "pod.cpu-starve"

    target: Workload
    cpu_pct: float = 2.0
    which: str = "all"

    def validate(self) -> None:
        """Check share and number."""
        require(1 <= self.cpu_pct <= 20, f"{self.name}: cpu_pct", self.cpu_pct, "1 to 20")
        require(self.which in ("one", "all"), f"{self.name}: which", self.which, "one, all")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The containers by id, and the limits that they have now."""
        aim = _containers.aim_at_containers(ctx, self.target, self.which, "CPU quota of the container's control group")
        before = {b.id: _containers.read(ctx, b.node, self._file(b)) for b in aim.facts["boxes"]}
        if not all(before.values()):
            raise TargetError("the container's CPU quota cannot be read", where=str(self.target), last=before)
        return _containers.with_facts(aim, before=before)

    @staticmethod
    def _file(box: Box) -> str:
        return f"{box.group('cpu')}/" + ("cpu.max" if box.v2 else "cpu.cfs_quota_us")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Put the limits back on the containers that are still there."""
        nodes = dict.fromkeys(b.node for b in aim.facts["boxes"])
        return tuple(
            Undo(n, "set -e\n" + "".join(self._restore(b, aim) for b in aim.facts["boxes"] if b.node == n))
            for n in nodes
        )

    def _restore(self, box: Box, aim: Aim) -> str:
        path = self._file(box)
        return f"[ ! -e {path} ] || echo '{aim.facts['before'][box.id]}' > {path}\n"

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Set the limits."""
        quota = max(1000, int(PERIOD_US * self.cpu_pct / 100))
        for box in aim.facts["boxes"]:
            value = f"{quota} {PERIOD_US}" if box.v2 else str(quota)
            ctx.node(box.node).run(["sh", "-c", f"echo '{value}' > {self._file(box)}"])

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """How much of a core does a probe get?"""
        share = max(self._share(ctx, b) for b in aim.facts["boxes"])
        bound = 3 * self.cpu_pct / 100
        evidence: dict[str, Any] = {"share_pct": round(share * 100, 1), "asked_pct": self.cpu_pct}
        if not 0 < share <= bound:
            return Seen(False, evidence)
        control = self._share(ctx, aim.facts["control"])
        evidence["control_share_pct"] = round(control * 100, 1)
        return Seen(control >= 3 * share, evidence)

    @staticmethod
    def _share(ctx: FaultContext, box: Box) -> float:
        tool = _nodetool.path_on(ctx, box.node)
        group = f"{box.group('cpu')}/" + ("cgroup.procs" if box.v2 else "tasks")
        script = f"[ -e {group} ] || exit 0; echo $$ > {group} && exec {tool} burn -cpu 20ms -timeout 4s"
        out = ctx.node(box.node).run(["sh", "-c", script], check=False).out
        return float(_nodetool.parse(out).get("share", 0.0))

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """The limits of the containers that are still there."""
        found = []
        for box in aim.facts["boxes"]:
            now = _containers.read(ctx, box.node, self._file(box))
            found += [f"{box.pod}: CPU quota {now}"] if now and now != aim.facts["before"][box.id] else []
        return found
