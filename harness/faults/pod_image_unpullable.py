"""Image unpullable: a pod's container is to run an image that nobody has."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import ClassVar

from harness._wait import Budget
from harness.faults._kubectl import kubectl_undo
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register, require
from harness.faults._pods import targets, victims

PATH = "/spec/containers/0/image"
REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


@register
@dataclass(frozen=True, kw_only=True)
class ImageUnpullable(Fault):
    """Change the image of running pods to a tag that does not exist; the kubelet restarts the container and cannot.

    The pods are changed, not their Deployment, so GitOps sees no drift. The revert puts the image back.
    Proof: the container waits for an image. Control: the workload's other pods do not.

    Args:
        target: the workload.
        which: `one` (the oldest pod) or `all`.
    """

    name: ClassVar[str] = "pod.image-unpullable"
    needs: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[tuple[str, ...]] = ("patch,delete pods",)
    prove: ClassVar[Budget] = Budget(60, every_s=0.3)
    clear: ClassVar[Budget] = Budget(90, every_s=0.3)

    target: Workload
    which: str = "all"

    def validate(self) -> None:
        """Check the number."""
        require(self.which in ("one", "all"), f"{self.name}: which", self.which, "one, all")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The pods by UID, and their images."""
        found = victims(ctx, self.target, self.which)
        images = {p["metadata"]["uid"]: p["spec"]["containers"][0]["image"] for p in found}
        return Aim(targets(found), "PATCH pod image", {"images": images})

    def _bad(self, aim: Aim, uid: str) -> str:
        return f"{str(aim.facts['images'][uid]).rpartition(':')[0]}:{aim.mark}-none"

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Put the image back on the very pods that are still there."""
        lines = []
        for target in aim.targets:
            patch = [
                {"op": "test", "path": "/metadata/uid", "value": target.uid},
                {"op": "replace", "path": PATH, "value": aim.facts["images"][target.uid]},
            ]
            command = f"k patch pod {target.name} -n {target.namespace} --type=json -p {shlex.quote(json.dumps(patch))}"
            lines.append(f"out=$({command} 2>&1) || case $out in")
            lines.append('  *NotFound*|*"not found"*|*Invalid*|*"the server rejected our request"*) :;;')
            lines.append('  *) echo "$out" >&2; exit 1;; esac')
        return (kubectl_undo(ctx, *lines),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Change the images."""
        for target in aim.targets:
            patch = [
                {"op": "test", "path": "/metadata/uid", "value": target.uid},
                {"op": "replace", "path": PATH, "value": self._bad(aim, target.uid)},
            ]
            ctx.kube.patch("Pod", target.name, target.namespace, patch)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Do the containers wait for an image?"""
        hit = {t.uid for t in aim.targets}
        waiting, others = [], 0
        for pod in ctx.kube.list("Pod", self.target.namespace, labels=self.target.labels):
            statuses = pod["status"].get("containerStatuses") or [{}]
            reason = ((statuses[0].get("state") or {}).get("waiting") or {}).get("reason", "")
            if pod["metadata"]["uid"] in hit:
                waiting.append(reason)
            else:
                others += reason in REASONS
        stuck = [r for r in waiting if r in REASONS]
        evidence = {"waiting": stuck, "of": len(waiting), "others_waiting": others}
        return Seen(bool(stuck) and len(stuck) == len(waiting) and not others, evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """The images that the pods are to run, where they are not what they were."""
        found = []
        for target in aim.targets:
            live = ctx.kube.get("Pod", target.name, target.namespace)
            image = live["spec"]["containers"][0]["image"] if live and live["metadata"]["uid"] == target.uid else ""
            found += [f"{target.name}: {image}"] if image and image != aim.facts["images"][target.uid] else []
        return found
