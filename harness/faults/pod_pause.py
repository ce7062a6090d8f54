"""Pause: every process of a container is frozen; connections still open, nobody answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults import _containers
from harness.faults._containers import Box
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register, require


@register
@dataclass(frozen=True, kw_only=True)
class Pause(Fault):
    """Freeze the first container of a workload's pods by the runtime's own freezer.

    Proof: the kernel says that the container's control group is frozen. Control: that of another pod is not.

    Args:
        target: the workload.
        which: `one` (the oldest pod) or `all`.
    """

    name: ClassVar[str] = "pod.pause"

    target: Workload
    which: str = "all"

    def validate(self) -> None:
        """Check the number."""
        require(self.which in ("one", "all"), f"{self.name}: which", self.which, "one, all")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The containers by id."""
        return _containers.aim_at_containers(ctx, self.target, self.which, "cgroup freezer by the container runtime")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Thaw the containers that are still there."""
        nodes = dict.fromkeys(b.node for b in aim.facts["boxes"])
        return tuple(
            Undo(n, "set -e\n" + "".join(self._thaw(b) for b in aim.facts["boxes"] if b.node == n)) for n in nodes
        )

    @staticmethod
    def _thaw(box: Box) -> str:
        state = _state_file(box)
        return (
            f"if ctr -n k8s.io task ls | grep -q '^{box.id} .*PAUSED'; then ctr -n k8s.io task resume {box.id}; fi\n"
            f'case "$(cat {state} 2>/dev/null)" in FROZEN|FREEZING) echo THAWED > {state};; esac\n'
        )

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Freeze."""
        for box in aim.facts["boxes"]:
            ctx.node(box.node).run(["ctr", "-n", "k8s.io", "task", "pause", box.id])

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """What does the kernel say?"""
        states = [self._frozen(ctx, b) for b in aim.facts["boxes"]]
        control = self._frozen(ctx, aim.facts["control"])
        evidence = {"frozen": sum(states), "of": len(states), "control_frozen": control}
        return Seen(all(states) and not control, evidence)

    @staticmethod
    def _frozen(ctx: FaultContext, box: Box) -> bool:
        return _containers.read(ctx, box.node, _state_file(box)) in ("FROZEN", "1")

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Frozen containers."""
        return [f"{b.pod} is frozen" for b in aim.facts["boxes"] if self._frozen(ctx, b)]


def _state_file(box: Box) -> str:
    return f"{box.group('freezer')}/" + ("cgroup.freeze" if box.v2 else "freezer.state")
