"""Control-plane components are static pods: stopped by taking their manifest away, started by putting it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._wait import Budget
from harness.faults import _nodes
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo

MANIFESTS = "/etc/kubernetes/manifests"


@dataclass(frozen=True, kw_only=True)
class StaticPodStop(Fault):
    """Base of the faults that stop a static pod of the control plane.

    Proof: its health port does not answer on the node. Control: the kubelet's does.
    """

    component: ClassVar[str] = ""
    program: ClassVar[str] = ""
    health: ClassVar[str] = ""
    prove: ClassVar[Budget] = Budget(60, every_s=0.3)
    clear: ClassVar[Budget] = Budget(180, every_s=0.5)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The control-plane node by UID."""
        target = _nodes.node_target(ctx, ctx.cluster.control_plane.name)
        return Aim((target,), f"manifest of {self.component} taken away, its process killed")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Put the manifest back and wait until it answers; no API is needed for that."""
        kept, place = f"/etc/kubernetes/{aim.mark}.yaml", f"{MANIFESTS}/{self.component}.yaml"
        script = (
            f"[ ! -e {kept} ] || mv {kept} {place} || exit 1\n"
            f"i=0; until curl -ksS -m 1 -o /dev/null {self.health}; do i=$((i+1)); [ $i -lt 150 ] || exit 1; sleep 0.3; done\n"
        )
        return (Undo(aim.targets[0].name, script),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Take the manifest away, then do not wait for a graceful end."""
        kept, place = f"/etc/kubernetes/{aim.mark}.yaml", f"{MANIFESTS}/{self.component}.yaml"
        script = f"mv {place} {kept} || exit 1\nsleep 0.5\npkill -KILL -x {self.program} || :\n"
        ctx.cluster.control_plane.run(["sh"], stdin=script)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does it answer on the node?"""
        node = ctx.cluster.control_plane
        alive = _nodes.answers(node, self.health)
        evidence: dict[str, Any] = {"answers": alive}
        if alive:
            return Seen(False, evidence)
        evidence["kubelet_answers"] = _nodes.answers(node, "http://127.0.0.1:10248/healthz")
        return Seen(bool(evidence["kubelet_answers"]), evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """The manifests, and those that are put aside."""
        return _nodes.shell(
            ctx.cluster.control_plane, f"ls {MANIFESTS}/ /etc/kubernetes/rh-*.yaml 2>/dev/null || :\n"
        ).split()
