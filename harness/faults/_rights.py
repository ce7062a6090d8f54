"""What a fault asks of the API besides reading: as RBAC rules, and checked before it is armed.

A fault names it as `verb[,verb] resource[.group]`, such as `create,delete pods` or `patch deployments.apps/scale`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from harness._errors import TargetError
from harness.faults._model import Aim, Fault, FaultContext

CLUSTER_WIDE = frozenset({"nodes", "validatingadmissionpolicies", "validatingadmissionpolicybindings"})


@dataclass(frozen=True)
class Right:
    """One verb on one resource."""

    verb: str
    group: str
    resource: str  # with its subresource, such as `pods/eviction`

    @property
    def cluster_wide(self) -> bool:
        """Whether the resource is in no namespace."""
        return self.resource.partition("/")[0] in CLUSTER_WIDE

    def __str__(self) -> str:
        name, slash, sub = self.resource.partition("/")
        return f"{self.verb} {name}{'.' + self.group if self.group else ''}{slash}{sub}"


def rights(texts: Iterable[str]) -> Iterator[Right]:
    """Read what faults name."""
    for text in texts:
        verbs, _, path = text.partition(" ")
        name, slash, sub = path.partition("/")
        resource, _, group = name.partition(".")
        for verb in verbs.split(","):
            yield Right(verb, group, resource + slash + sub)


def rules(texts: Iterable[str], *, cluster_wide: bool) -> list[dict[str, Any]]:
    """RBAC rules, the verbs of one resource put together."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights(texts):
        if right.cluster_wide == cluster_wide:
            known = verbs.setdefault((right.group, right.resource), [])
            known += [right.verb] if right.verb not in known else []
    return [{"apiGroups": [g], "resources": [r], "verbs": sorted(v)} for (g, r), v in sorted(verbs.items())]


def check(ctx: FaultContext, fault: Fault, aim: Aim) -> None:
    """Ask the API whether we may do what the fault does, before anything is armed.

    Raises:
        TargetError: names what is not allowed, where, and how to get it.
    """
    namespaces = sorted({t.namespace for t in aim.targets if t.namespace}) or [""]
    missing: list[str] = []
    for right in rights(fault.api):
        places = [""] if right.cluster_wide else namespaces
        missing += [f"{right} in {n or 'the cluster'}" for n in places if not _allowed(ctx, right, n)]
    if missing:
        raise TargetError(
            f"{fault.name}: these credentials may not do it; nothing was touched",
            last=", ".join(missing),
            fix=f"harness attached role {fault.name} | kubectl apply -f - (as an administrator)",
        )


def _allowed(ctx: FaultContext, right: Right, namespace: str) -> bool:
    resource, _, sub = right.resource.partition("/")
    asked = {"verb": right.verb, "group": right.group, "resource": resource, "namespace": namespace}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**asked, "subresource": sub}},
    }
    review = ctx.kube.resource("SelfSubjectAccessReview", "authorization.k8s.io/v1").create(body=body)
    return bool(review.to_dict()["status"].get("allowed"))
