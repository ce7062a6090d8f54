"""Targets: what a fault hits, named by role, resolved once, recorded by identity, and guarded by an allow-list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from harness._errors import TargetError
from harness.kube import Kube, Manifest


@dataclass(frozen=True)
class Target:
    """One object, by identity.

    Args:
        kind: Kubernetes kind (`Pod`, `Deployment`, `Node`, ...).
        namespace: its namespace, empty for nodes.
        name: its name.
        uid: its UID when it was resolved.
        node: the node it runs on, for pods.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    node: str = ""

    def as_dict(self) -> dict[str, str]:
        """For the history."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Allowed:
    """The blast radius: namespaces and nodes that faults may touch."""

    namespaces: frozenset[str]
    nodes: frozenset[str] = frozenset()

    def check(self, target: Target) -> Target:
        """Return the target, or raise `TargetError` when it is outside the allow-list."""
        inside = target.name in self.nodes if target.kind == "Node" else target.namespace in self.namespaces
        if not inside:
            raise TargetError(
                f"{target} is outside the allow-list",
                last=f"namespaces {sorted(self.namespaces)}, nodes {sorted(self.nodes)}",
                fix="allow it in the configuration if this environment may break it; is the name right?",
            )
        return target


def running_pods(kube: Kube, namespace: str, labels: str) -> list[Manifest]:
    """The pods that can be targets: running and not already terminating, oldest first.

    Raises:
        TargetError: none matches.
    """
    pods = kube.list("Pod", namespace, labels=labels)
    good = [p for p in pods if p["status"].get("phase") == "Running" and not p["metadata"].get("deletionTimestamp")]
    if not good:
        seen = [f"{p['metadata']['name']} {p['status'].get('phase')}" for p in pods]
        raise TargetError(
            "no running pod matches the selector",
            where=f"{namespace} [{labels}]",
            last=", ".join(seen) or "no pods at all",
        )
    return sorted(good, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))


def pod_target(pod: Manifest) -> Target:
    """A pod as a target."""
    meta = pod["metadata"]
    return Target("Pod", meta["namespace"], meta["name"], meta["uid"], pod["spec"].get("nodeName", ""))


def resolve(kube: Kube, kind: str, name: str, namespace: str = "") -> Target:
    """An object as a target; raises `TargetError` when it does not exist or is being deleted."""
    live = kube.get(kind, name, namespace or None)
    if live is None:
        raise TargetError(f"no {kind} {name!r}", where=namespace or "cluster")
    if live["metadata"].get("deletionTimestamp"):
        raise TargetError(f"{kind} {name!r} is already being deleted", where=namespace or "cluster")
    return Target(kind, namespace, name, live["metadata"]["uid"], live.get("spec", {}).get("nodeName", ""))


def only(targets: Sequence[Target]) -> Target:
    """The single target of a sequence; raises `TargetError` otherwise."""
    if len(targets) != 1:
        raise TargetError(f"expected one target, found {len(targets)}", last=", ".join(map(str, targets)))
    return targets[0]
