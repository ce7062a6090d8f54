"""What every provider gives: a kubeconfig, its nodes, and the only way onto a node.

A provider is one file beside this one that has the functions of `Provider`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness._errors import TargetError
from harness._progress import Step
from harness._run import Completed
from harness.env import Env

if TYPE_CHECKING:
    from harness.bundle import Bundle
    from harness.clusters._power import Power
    from harness.config import Config

POD_SUBNET = "10.244.0.0/16"
SERVICE_SUBNET = "10.96.0.0/16"


class Node(Protocol):
    """A machine of the cluster."""

    @property
    def name(self) -> str:
        """The Kubernetes node name."""
        ...

    @property
    def role(self) -> str:
        """`control-plane` or `worker`."""
        ...

    @property
    def power(self) -> Power | None:
        """What switches its power from this machine; None when nothing does."""
        ...

    def run(
        self,
        args: Sequence[str],
        *,
        timeout_s: float = 15,
        stdin: str | bytes | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a command as root on the node and return its output; raises `CommandFailed`."""
        ...

    def put(self, source: Path, target: str, *, mode: str = "0755") -> None:
        """Copy a local file onto the node."""
        ...

    def power_off(self) -> None:
        """Cut the power: no shutdown, nothing is flushed."""
        ...

    def power_on(self) -> None:
        """Switch it on again; returns at once."""
        ...

    def reboot(self) -> None:
        """Restart the operating system of the node."""
        ...


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up.

    Args:
        provider: the name of what made it.
        kubeconfig: path of the file with the credentials.
        nodes: its nodes.
        pod_subnet: the pods' network.
        namespaces: patterns of the namespaces that may be touched.
        kubectl: when given, API objects are undone from this machine with this command: no control-plane node is ours.
        facts: addresses that differ from those of the environment's Docker network (`vip`, `vip_pool`, `git_url`, ...).
    """

    provider: str
    kubeconfig: Path
    nodes: tuple[Node, ...]
    pod_subnet: str = POD_SUBNET
    namespaces: tuple[str, ...] = ("*",)
    kubectl: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def control_plane(self) -> Node:
        """The (first) control-plane node; raises `TargetError` when none may be touched."""
        for node in self.nodes:
            if node.role == "control-plane":
                return node
        raise TargetError("no control-plane node may be touched", last=", ".join(n.name for n in self.nodes) or "none")

    @property
    def workers(self) -> tuple[Node, ...]:
        """The worker nodes, by name."""
        return tuple(n for n in self.nodes if n.role == "worker")

    def allows(self, namespace: str) -> bool:
        """Whether a namespace may be touched."""
        return any(fnmatchcase(namespace, pattern) for pattern in self.namespaces)

    def node(self, name: str) -> Node:
        """The node of that name; raises `TargetError` when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise TargetError(f"no node {name!r}", last=", ".join(n.name for n in self.nodes))


class Provider(Protocol):
    """Where a cluster comes from: a module `harness/clusters/<name>.py` with these functions."""

    def up(self, env: Env, bundle: Bundle, registry_url: str, config: Config, step: Step) -> Cluster:
        """Make the cluster, continue a half-made one, or reuse the one that is there; raises `ClusterError`."""
        ...

    def connect(self, env: Env, config: Config) -> Cluster:
        """The cluster that is up, without changing anything; raises `ClusterError` when there is none."""
        ...

    def down(self, env: Env) -> None:
        """Remove everything that `up` made; no error when there is nothing."""
        ...

    def diagnose(self, env: Env, bundle: Bundle) -> Path:
        """Collect the nodes' journals and pod logs, for a failure's error message; return the folder."""
        ...
