"""What the drift faults share: the original of a live object, as Git made it, without what the server adds."""

from __future__ import annotations

from typing import Any

from harness._errors import TargetError, UsageError
from harness.faults._model import Aim, FaultContext, Object
from harness.kube import Manifest
from harness.targets import Target

RESOURCES = {  # kind -> what kubectl calls it, and its API version
    "Deployment": ("deployments.apps", "apps/v1"),
    "StatefulSet": ("statefulsets.apps", "apps/v1"),
    "DaemonSet": ("daemonsets.apps", "apps/v1"),
    "Service": ("services", "v1"),
    "ConfigMap": ("configmaps", "v1"),
    "ServiceAccount": ("serviceaccounts", "v1"),
    "Ingress": ("ingresses.networking.k8s.io", "networking.k8s.io/v1"),
    "NetworkPolicy": ("networkpolicies.networking.k8s.io", "networking.k8s.io/v1"),
    "PodDisruptionBudget": ("poddisruptionbudgets.policy", "policy/v1"),
}
SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
)


def resource(kind: str) -> tuple[str, str]:
    """Kubectl's name and the API version of a kind that can drift."""
    if kind not in RESOURCES:
        raise UsageError(f"drift of a {kind!r} is not known", fix=", ".join(RESOURCES))
    return RESOURCES[kind]


def get(ctx: FaultContext, target: Object) -> Manifest | None:
    """The live object, or None."""
    return ctx.kube.get(target.kind, target.name, target.namespace, resource(target.kind)[1])


def live_object(ctx: FaultContext, target: Object) -> Manifest:
    """The object that is to drift; raises `TargetError` when it is not there or is going."""
    live = get(ctx, target)
    if live is None or live["metadata"].get("deletionTimestamp"):
        raise TargetError(
            f"no {target.kind} {target.name!r}", where=target.namespace, last="being deleted" if live else "not there"
        )
    return live


def identity(target: Object, live: Manifest) -> Target:
    """The object as a target."""
    return Target(target.kind, target.namespace, target.name, live["metadata"]["uid"])


def accepted(ctx: FaultContext, aim: Aim, change: str) -> None:
    """Mark in the history that the API accepted a change that is not in Git."""
    if ctx.history is not None:
        hit = aim.targets[0]
        ctx.history.mark("drift", "accepted", kind=hit.kind, namespace=hit.namespace, name=hit.name, change=change)


def original(live: Manifest) -> Manifest:
    """The object so that it can be created again."""
    meta = {k: v for k, v in live["metadata"].items() if k not in SERVER_FIELDS}
    body = {k: v for k, v in live.items() if k not in ("status", "metadata")}
    spec = body.get("spec")
    if isinstance(spec, dict) and live["kind"] == "Service":
        body["spec"] = {k: v for k, v in spec.items() if k not in ("clusterIPs",)}
    return {**body, "metadata": meta}


def at(body: Any, pointer: str) -> Any:
    """The value at a JSON pointer, or None."""
    for part in pointer.strip("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(body, list):
            if not key.isdigit() or int(key) >= len(body):
                return None
            body = body[int(key)]
        elif isinstance(body, dict):
            if key not in body:
                return None
            body = body[key]
        else:
            return None
    return body
