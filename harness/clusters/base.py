"""What every provider gives: a kubeconfig, its nodes, and the only way onto a node.

A provider is one file beside this one with `up(env, spec, ...) -> Cluster` and `down(env)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness._errors import TargetError
from harness._run import Completed


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
    """A cluster that is up: its provider's name, kubeconfig path, and nodes."""

    provider: str
    kubeconfig: Path
    nodes: tuple[Node, ...]

    @property
    def control_plane(self) -> Node:
        """The (first) control-plane node."""
        return next(n for n in self.nodes if n.role == "control-plane")

    @property
    def workers(self) -> tuple[Node, ...]:
        """The worker nodes, by name."""
        return tuple(n for n in self.nodes if n.role == "worker")

    def node(self, name: str) -> Node:
        """The node of that name; raises `TargetError` when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise TargetError(f"no node {name!r}", last=", ".join(n.name for n in self.nodes))
