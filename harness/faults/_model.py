"""What a fault is: a typed spec and five small verbs; and what the lifecycle gives to and takes from them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from harness._clock import CLOCK, Clock
from harness._errors import UsageError
from harness._wait import Budget
from harness.targets import Allowed, Target

if TYPE_CHECKING:
    from harness.bundle import Bundle
    from harness.clusters.base import Cluster, Node
    from harness.env import Env
    from harness.history import HistoryWriter
    from harness.kube import Kube

LABEL = "resilience-harness/fault"  # on every API object that a fault makes; its value is the fault's id
RULE_PREFIX = "rh-"  # what the comments of packet-filter rules and the names of units begin with
HOST = "@runner"  # the machine of the runner, as a place for a dead-man
DEFAULT_LEASE_S = 30.0


@dataclass(frozen=True)
class FaultContext:
    """What a fault works with.

    Args:
        env: the environment: where the journal lives.
        kube: the API.
        cluster: the nodes.
        allowed: the blast radius; anything else is refused before anything is armed.
        history: where marks go, if anywhere.
        run_id: whose faults these are.
        clock: the seam for time.
        bundle: where helpers for nodes come from.
        facts: addresses and the like (`git_url`, `registry_url`, ...).
        lease_s: how long a fault outlives a runner that has died.
    """

    env: Env
    kube: Kube
    cluster: Cluster
    allowed: Allowed
    history: HistoryWriter | None = None
    run_id: str = "adhoc"
    clock: Clock = CLOCK
    bundle: Bundle | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    lease_s: float = DEFAULT_LEASE_S

    def __post_init__(self) -> None:
        if self.lease_s < 1:
            raise UsageError("a lease shorter than a second cannot be renewed in time", last=self.lease_s)

    def node(self, name: str) -> Node:
        """The node of that name."""
        return self.cluster.node(name)

    def tool(self, name: str) -> Path:
        """A helper program for nodes; raises `UsageError` when no bundle is there to give it."""
        if self.bundle is None:
            raise UsageError(
                f"{name} is needed on the node, and there is no bundle to take it from", fix="harness bundle build"
            )
        return self.bundle.tool(name)


@dataclass(frozen=True)
class Workload:
    """The pods of a Deployment (or StatefulSet, DaemonSet) by role; resolved to identities when a fault is injected.

    Args:
        namespace: its namespace.
        name: its name.
        kind: `Deployment`, `StatefulSet` or `DaemonSet`.
        labels: selector of its pods; `app=<name>` when not given.
    """

    namespace: str
    name: str
    kind: str = "Deployment"
    labels: str = ""

    def __post_init__(self) -> None:
        for what, value in (("namespace", self.namespace), ("name", self.name)):
            if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", value):
                raise UsageError(f"{what} {value!r} is not one that Kubernetes knows")
        if self.kind not in {"Deployment", "StatefulSet", "DaemonSet"}:
            raise UsageError(f"a workload cannot be a {self.kind!r}", fix="Deployment, StatefulSet or DaemonSet")
        if not self.labels:
            object.__setattr__(self, "labels", f"app={self.name}")

    @property
    def selector(self) -> dict[str, str]:
        """The labels as a dictionary."""
        return dict(pair.split("=", 1) for pair in self.labels.split(","))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Object:
    """One object of the API by name.

    Args:
        kind: its kind.
        namespace: its namespace.
        name: its name.
    """

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Undo:
    """What the dead-man runs: a shell script that undoes by identity, as often as one likes; exit code 0 only when undone.

    Args:
        where: a node's name, or `HOST`.
        script: for /bin/sh.
    """

    where: str
    script: str


@dataclass(frozen=True)
class Aim:
    """What is about to be hit, resolved once.

    Args:
        targets: by identity; all are checked against the allow-list.
        mechanism: how it is done on this machine.
        facts: what the verbs need to remember (names of network namespaces, original values, ...).
        id: identity of this injection, given by the lifecycle; in rule comments, labels and unit names.
    """

    targets: tuple[Target, ...]
    mechanism: str
    facts: dict[str, Any] = field(default_factory=dict)
    id: str = ""

    @property
    def mark(self) -> str:
        """What everything made by this injection is called."""
        return f"{RULE_PREFIX}{self.id}"


@dataclass(frozen=True)
class Seen:
    """An observation: does the fault bite, and what was measured.

    Args:
        active: it bites now.
        evidence: what was measured.
        bit: it has bitten, though it may be healed by now (GitOps can be quicker than any observer).
    """

    active: bool
    evidence: dict[str, Any] = field(default_factory=dict)
    bit: bool = False

    def __str__(self) -> str:
        shown = ", ".join(f"{k} {v}" for k, v in self.evidence.items())
        return f"{'active' if self.active else 'not active'} ({shown})"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Base of all faults: a spec, checked when it is made, and five verbs. One file holds one fault.

    Args:
        max_s: the longest it may last; enforced on the cluster, whatever becomes of the runner.
    """

    name: ClassVar[str] = ""
    one_shot: ClassVar[bool] = False  # the platform heals it; there is nothing to revert
    # What it needs of the cluster: `node` (a way onto nodes), `ssh` (one that does not go through Kubernetes, which the
    # fault takes away), `power` (their switch), `servers` (those beside it).
    needs: ClassVar[tuple[str, ...]] = ("node",)
    api: ClassVar[tuple[str, ...]] = ()  # what it asks of the API besides reading: see `_rights.py`
    prove: ClassVar[Budget] = Budget(20, every_s=0.2)
    clear: ClassVar[Budget] = Budget(60, every_s=0.2)
    limit_s: ClassVar[float] = 3600.0

    max_s: float = 900.0

    def __post_init__(self) -> None:
        require(
            0 < self.max_s <= self.limit_s,
            f"{self.name}: max_s",
            self.max_s,
            f"more than 0, at most {self.limit_s:g} s",
        )
        self.validate()

    def validate(self) -> None:
        """Refuse a spec that cannot be, with `UsageError`."""

    def resolve(self, ctx: FaultContext) -> Aim:
        """Find the targets and the mechanism; raise before anything is touched when this cannot be done here."""
        raise NotImplementedError

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """What undoes it, wherever it is run; empty for a one-shot."""
        return ()

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Do it. May fail half-way: the undo then runs all the same."""
        raise NotImplementedError

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Look, by other means than those of `inject`, whether it bites. Only looks."""
        raise NotImplementedError

    def missed(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """What it should hit at its end and does not: pods that have come since, say. Then its scenario proves nothing."""
        return []

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """What there is of the sort of thing that this fault makes; must be the same after as before."""
        return []

    def spec(self) -> dict[str, Any]:
        """The spec as plain data, for the journal and the history."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def _plain(value: Any) -> Any:
    if callable(value):
        return getattr(value, "__name__", "callable")
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def require(holds: bool, what: str, value: object, allowed: str) -> None:
    """Raise `UsageError` naming the field, its value and what it may be, unless `holds`."""
    if not holds:
        raise UsageError(f"{what} cannot be {value!r}", fix=f"{allowed}")


CATALOGUE: dict[str, type[Fault]] = {}
F = TypeVar("F", bound=type[Fault])


def register(kind: F) -> F:
    """Class decorator: put a fault into the catalogue under its `name`."""
    if not re.fullmatch(r"(pod|network|node|gitops|platform)\.[a-z][a-z0-9-]*", kind.name):
        raise TypeError(f"{kind.__name__}: {kind.name!r} is not <category>.<name>")
    if CATALOGUE.setdefault(kind.name, kind) is not kind:
        raise TypeError(f"two faults are called {kind.name}")
    return kind
