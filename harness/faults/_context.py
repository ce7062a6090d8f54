"""What faults work with on a platform: a story's own blast radius, or for the command line the whole environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.faults._model import DEFAULT_LEASE_S, FaultContext
from harness.targets import Allowed

if TYPE_CHECKING:
    from harness.history import HistoryWriter
    from harness.provision import Platform

PLATFORM = ("argocd", "ingress-nginx", "kube-system", "metallb-system", "monitoring", "platform-server")


def platform_context(platform: Platform, *, run_id: str, lease_s: float = DEFAULT_LEASE_S) -> FaultContext:
    """For the command line: Boutiques, components and nodes of a platform may be hit, as far as its provider allows."""
    may = platform.cluster.allows
    boutiques = {n["metadata"]["name"] for n in platform.kube.list("Namespace")}
    allowed = Allowed(
        frozenset(n for n in {n for n in boutiques if n.startswith("boutique-")} | set(PLATFORM) if may(n)),
        frozenset(n.name for n in platform.cluster.nodes),
    )
    return fault_context(platform, allowed, run_id=run_id, lease_s=lease_s)


def fault_context(
    platform: Platform,
    allowed: Allowed,
    *,
    run_id: str,
    history: HistoryWriter | None = None,
    lease_s: float = DEFAULT_LEASE_S,
) -> FaultContext:
    """A context for a platform in which nothing but `allowed` may be hit."""
    return FaultContext(
        env=platform.env,
        kube=platform.kube,
        cluster=platform.cluster,
        allowed=allowed,
        history=history,
        run_id=run_id,
        bundle=platform.bundle,
        facts=platform.facts,
        lease_s=lease_s,
    )
