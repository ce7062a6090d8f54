"""Servers beside the cluster (Git, registry): frozen, so that they keep their addresses and answer nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import TargetError
from harness._run import run
from harness.faults import _nodes
from harness.faults._model import HOST, Aim, Fault, FaultContext, Seen, Undo
from harness.targets import Target

NAMESPACE = "platform-server"  # what the allow-list calls them


@dataclass(frozen=True, kw_only=True)
class ServerFrozen(Fault):
    """Base of the faults that take a server beside the cluster away.

    Its dead-man lives on the runner's machine, detached from the runner.
    Proof: it gives no answer to a node within a second. Control: another server beside the cluster does.
    """

    needs: ClassVar[tuple[str, ...]] = ("servers",)
    role: ClassVar[str] = ""
    fact: ClassVar[str] = ""
    control_fact: ClassVar[str] = ""

    def resolve(self, ctx: FaultContext) -> Aim:
        """The container by id."""
        container = ctx.env.container(self.role)
        shown = run(["docker", "inspect", "-f", "{{.Id}} {{.State.Status}}", container], timeout_s=15, check=False)
        words = shown.out.split()
        if not shown.ok or words[1:] != ["running"]:
            raise TargetError(f"no running container {container}", last=shown.err.strip() or shown.out.strip())
        facts = {"url": ctx.facts[self.fact], "control_url": ctx.facts[self.control_fact]}
        return Aim((Target("Container", NAMESPACE, container, words[0]),), "docker pause", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Thaw that very container, if it is frozen."""
        uid = aim.targets[0].uid
        state = f"$(docker inspect -f '{{{{.State.Paused}}}}' {uid} 2>/dev/null)"
        return (Undo(HOST, f'[ "{state}" != true ] || docker unpause {uid} >/dev/null\n'),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Freeze it."""
        run(["docker", "pause", aim.targets[0].uid], timeout_s=15)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does it answer a node?"""
        node = ctx.cluster.control_plane
        alive = _nodes.answers(node, aim.facts["url"])
        evidence: dict[str, Any] = {"answers": alive}
        if alive:
            return Seen(False, evidence)
        evidence["control_answers"] = _nodes.answers(node, aim.facts["control_url"], from_s=3)
        return Seen(bool(evidence["control_answers"]), evidence)
