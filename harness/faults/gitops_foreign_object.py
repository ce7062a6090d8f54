"""A foreign object: somebody puts an object that Git does not have where GitOps is in charge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._kubectl import delete_labelled_line, kubectl_undo
from harness.faults._model import LABEL, Aim, Fault, FaultContext, Seen, Undo, register, require
from harness.targets import Target, resolve

TRACKING = "argocd.argoproj.io/tracking-id"


@register
@dataclass(frozen=True, kw_only=True)
class ForeignObject(Fault):
    """Put a ConfigMap that Git does not have into a namespace.

    With `claimed_by` it carries Argo CD's tracking mark of that Application, as if a commit that is no longer there had
    made it: pruning should remove it. Without, it belongs to nobody and stays until the revert.
    Proof: it is there, with the UID that it got. Control: the namespace's other ConfigMaps are as many as before.

    Args:
        namespace: where it is put.
        claimed_by: name of the Argo CD Application whose object it pretends to be.
    """

    name: ClassVar[str] = "gitops.foreign-object"
    needs: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[tuple[str, ...]] = ("create,delete configmaps",)

    namespace: str
    claimed_by: str = ""

    def validate(self) -> None:
        """Check the namespace's name."""
        require(bool(self.namespace), f"{self.name}: namespace", self.namespace, "a namespace")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The namespace, which must be there."""
        home = resolve(ctx.kube, "Namespace", self.namespace)
        others = sorted(o["metadata"]["name"] for o in ctx.kube.list("ConfigMap", self.namespace, api_version="v1"))
        target = Target("Namespace", self.namespace, self.namespace, home.uid)
        return Aim((target,), "CREATE ConfigMap", {"others": others})

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Delete it by its label."""
        return (kubectl_undo(ctx, delete_labelled_line("configmaps", LABEL, aim.id, self.namespace)),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Create it, and mark in the history that the API accepted it."""
        meta: dict[str, object] = {"name": aim.mark, "namespace": self.namespace, "labels": {LABEL: aim.id}}
        if self.claimed_by:
            meta["annotations"] = {TRACKING: f"{self.claimed_by}:/ConfigMap:{self.namespace}/{aim.mark}"}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"by": "hand"}}
        ctx.kube.resource("ConfigMap", "v1").create(body=body, namespace=self.namespace, _request_timeout=15)
        if ctx.history is not None:
            ctx.history.mark(
                "drift", "accepted", kind="ConfigMap", namespace=self.namespace, name=aim.mark, change="created"
            )
        aim.facts["created"] = True

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Is it there?"""
        found = ctx.kube.list("ConfigMap", self.namespace, api_version="v1")
        names = sorted(o["metadata"]["name"] for o in found)
        others = [n for n in names if n != aim.mark]
        there = aim.mark in names
        evidence = {"there": there, "others_untouched": others == aim.facts["others"]}
        return Seen(there and evidence["others_untouched"], evidence, bit=bool(aim.facts.get("created")) and not there)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Objects with our mark."""
        found = ctx.kube.list("ConfigMap", self.namespace, labels=LABEL, api_version="v1")
        return [o["metadata"]["name"] for o in found]
