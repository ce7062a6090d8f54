"""Memory hog: a container's memory runs out, and the kernel kills its main process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness._errors import TargetError
from harness._wait import Budget
from harness.faults import _containers, _nodetool
from harness.faults._containers import Box
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register, require

MAX_LIMIT_BYTES = 2 * 2**30
OOM, KILLED = "OOMKilled", "Error, exit 137"


@register
@dataclass(frozen=True, kw_only=True)
class MemoryHog(Fault):
    """Fill the memory of a container's control group beyond its limit; the container's own process is made the first to go.

    The container must have a memory limit, or the node's memory would run out instead.
    Proof: the container's process is gone, and Kubernetes gives OOMKilled as the reason. Control: another pod's process
    is the same.

    Args:
        target: the workload.
        which: `one` (the oldest pod) or `all`.
    """

    name: ClassVar[str] = "pod.memory-hog"
    prove: ClassVar[Budget] = Budget(30, every_s=0.3)

    target: Workload
    which: str = "one"

    def validate(self) -> None:
        """Check the number."""
        require(self.which in ("one", "all"), f"{self.name}: which", self.which, "one, all")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The containers by id, and their limits."""
        aim = _containers.aim_at_containers(
            ctx, self.target, self.which, "memory held in the container's control group"
        )
        limits = {}
        for box in aim.facts["boxes"]:
            name = "memory.max" if box.v2 else "memory.limit_in_bytes"
            text = _containers.read(ctx, box.node, f"{box.group('memory')}/{name}")
            if not text.isdigit() or int(text) > MAX_LIMIT_BYTES:
                raise TargetError("the container has no memory limit that a hog may reach", where=box.pod, last=text)
            limits[box.id] = int(text)
        kills = {box.node: self._oom_kills(ctx, box.node) for box in aim.facts["boxes"]}
        return _containers.with_facts(aim, limits=limits, kills=kills)

    @staticmethod
    def _oom_kills(ctx: FaultContext, node: str) -> int:
        """How many processes the node's kernel has killed for want of memory."""
        lines = _containers.read(ctx, node, "/proc/vmstat").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    @staticmethod
    def _unit(aim: Aim, box: Box) -> str:
        return f"{aim.mark}-hog-{box.id[:8]}"

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Stop the hogs."""
        nodes = dict.fromkeys(b.node for b in aim.facts["boxes"])
        lines = {
            n: [_nodetool.stop_unit_line(self._unit(aim, b)) for b in aim.facts["boxes"] if b.node == n] for n in nodes
        }
        return tuple(Undo(n, "\n".join(each) + "\n") for n, each in lines.items())

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Make the container's process the first to be killed, then take the memory."""
        for box in aim.facts["boxes"]:
            tool = _nodetool.path_on(ctx, box.node)
            group = f"{box.group('memory')}/" + ("cgroup.procs" if box.v2 else "tasks")
            mib = aim.facts["limits"][box.id] // 2**20 + 16
            # systemd halves the dollars
            inside = f"echo $$$$ > {group} && exec {tool} hog -mib {mib} -for 60s"
            script = (
                f"echo 1000 > /proc/{box.pid}/oom_score_adj\n"
                + _nodetool.start_unit(self._unit(aim, box), f"sh -c '{inside}'")
                + "\n"
            )
            ctx.node(box.node).run(["sh", "-e"], stdin=script)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Is the process gone, and for want of memory?"""
        gone = [not self._lives(ctx, b) for b in aim.facts["boxes"]]
        reasons = [self._reason(ctx, b) for b in aim.facts["boxes"]]
        control = self._lives(ctx, aim.facts["control"])
        evidence = {"killed": sum(gone), "of": len(gone), "reasons": reasons, "control_lives": control}
        hogs = [u for b in aim.facts["boxes"] for u in _nodetool.units(ctx, b.node, self._unit(aim, b)) if aim.id]
        risen = {n: self._oom_kills(ctx, n) - before for n, before in aim.facts["kills"].items()} if any(gone) else {}
        evidence["oom_kills"] = sum(risen.values())
        # The runtime sometimes misses the kernel's message and says "Error"; the signal and the kernel's count do not.
        killed = [
            r == OOM or (r == KILLED and risen.get(b.node, 0) > 0)
            for r, b in zip(reasons, aim.facts["boxes"], strict=True)
        ]
        bit = all(gone) and all(killed) and control
        return Seen(bool(hogs) and bit, evidence, bit=bit)

    @staticmethod
    def _lives(ctx: FaultContext, box: Box) -> bool:
        stat = _containers.read(ctx, box.node, f"/proc/{box.pid}/stat").split(" ")
        return len(stat) > 21 and stat[21] == box.start

    def _reason(self, ctx: FaultContext, box: Box) -> str:
        pod = ctx.kube.get("Pod", box.pod, self.target.namespace) or {"status": {}}
        for status in pod["status"].get("containerStatuses") or []:
            for state in (status.get("state") or {}, status.get("lastState") or {}):
                ended = state.get("terminated") or {}
                if ended.get("containerID", "").endswith(box.id):
                    return OOM if ended.get("reason") == OOM else f"{ended.get('reason')}, exit {ended.get('exitCode')}"
        return ""

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Hogs."""
        return [u for b in aim.facts["boxes"] for u in _nodetool.units(ctx, b.node, f"{aim.mark}-hog")]
