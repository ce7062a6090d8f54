"""A bad commit: Git itself asks for an image that nobody has, and GitOps obeys."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import TargetError
from harness._run import run
from harness._wait import Budget
from harness.boutique.deploy import Boutique, Release, push
from harness.faults._model import HOST, Aim, Fault, FaultContext, Seen, Undo, register, require
from harness.targets import resolve

WORKLOAD = "frontend"


@register
@dataclass(frozen=True, kw_only=True)
class BadCommit(Fault):
    """Push a commit that asks for a frontend image that does not exist.

    The revert puts the branch back to where it was, on the Git server, and only while our commit is its head: a scenario
    that pushes a proper revert on top is left alone. Argo CD sees a branch put back at its next poll.
    Proof: the live Deployment asks for the bad image. Control: no other Deployment of the namespace does.

    Args:
        boutique: the Boutique's name (`a` for the namespace `boutique-a`).
        overlay: what Git asks for now: `stock` or `hardened`.
        version: the version that Git asks for now.
        tag: the image tag that nobody has.
    """

    name: ClassVar[str] = "gitops.bad-commit"
    needs: ClassVar[tuple[str, ...]] = ("servers",)
    prove: ClassVar[Budget] = Budget(90, every_s=0.3)
    clear: ClassVar[Budget] = Budget(180, every_s=0.5)

    boutique: str
    overlay: str = "stock"
    version: str = "1"
    tag: str = "v0.0.0-none"

    def validate(self) -> None:
        """The tag must be another one."""
        require(bool(self.boutique), f"{self.name}: boutique", self.boutique, "the name of one")
        require(self.tag != Release().frontend_tag, f"{self.name}: tag", self.tag, "one that Git does not ask for now")

    def _shop(self, ctx: FaultContext) -> Boutique:
        return Boutique(ctx.env, self.boutique)

    def _git(self, ctx: FaultContext) -> list[str]:
        shop = self._shop(ctx)
        return ["docker", "exec", shop.env.container("git"), "git", "-C", f"/srv/git/{shop.repository}"]

    def resolve(self, ctx: FaultContext) -> Aim:
        """The Deployment, and the head of the branch."""
        target = resolve(ctx.kube, "Deployment", WORKLOAD, self._shop(ctx).namespace)
        head = run([*self._git(ctx), "rev-parse", "main"], timeout_s=15, check=False)
        if not head.ok:
            raise TargetError(
                "the Boutique's repository was not found", where=self._shop(ctx).repository, last=head.err.strip()
            )
        return Aim((target,), "Git push", {"head": head.out.strip()})

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Put the branch back, if our commit is its head."""
        git = shlex.join(self._git(ctx))
        return (
            Undo(
                HOST,
                f"message=$({git} log -1 --format=%s main) || exit 1\n"
                f'case "$message" in *{aim.mark}*) {git} update-ref refs/heads/main {aim.facts["head"]};; esac\n',
            ),
        )

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Push, and mark it in the history as a deployment is marked."""
        bad = Release(self.overlay, self.version, self.tag)
        pushed = push(self._shop(ctx), bad, f"Release the frontend {self.tag} ({aim.mark})")
        if ctx.history is not None:
            ctx.history.mark(
                "git",
                "push_accepted",
                t_s=ctx.history.at_wall(pushed.accepted_wall_s),
                revision=pushed.revision,
                purpose="bad",
                version=bad.version,
            )

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Which images do the live Deployments ask for?"""
        asked = {d["metadata"]["name"]: self._images(d) for d in ctx.kube.list("Deployment", self._shop(ctx).namespace)}
        bad = sorted(name for name, images in asked.items() if any(i.endswith(f":{self.tag}") for i in images))
        return Seen(bad == [WORKLOAD], {"asking_for_it": bad, "deployments": len(asked)})

    @staticmethod
    def _images(deployment: dict[str, Any]) -> list[str]:
        return [c["image"] for c in deployment["spec"]["template"]["spec"]["containers"]]

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Our commit, if it is the head."""
        subject = run([*self._git(ctx), "log", "-1", "--format=%s", "main"], timeout_s=15, check=False).out.strip()
        return [subject] if aim.id and aim.mark in subject else []
