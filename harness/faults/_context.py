"""The context that the command line works with: everything of our own environment is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.faults._model import DEFAULT_LEASE_S, FaultContext
from harness.targets import Allowed

if TYPE_CHECKING:
    from harness.provision import Platform

PLATFORM = ("argocd", "ingress-nginx", "kube-system", "metallb-system", "monitoring", "platform-server")


def platform_context(platform: Platform, *, run_id: str, lease_s: float = DEFAULT_LEASE_S) -> FaultContext:
    """A context for a platform: its Boutiques, its components and its nodes may be hit, as far as its provider allows."""
    may = platform.cluster.allows
    boutiques = {n["metadata"]["name"] for n in platform.kube.list("Namespace")}
    allowed = Allowed(
        frozenset(n for n in {n for n in boutiques if n.startswith("boutique-")} | set(PLATFORM) if may(n)),
        frozenset(n.name for n in platform.cluster.nodes),
    )
    return FaultContext(
        env=platform.env,
        kube=platform.kube,
        cluster=platform.cluster,
        allowed=allowed,
        run_id=run_id,
        bundle=platform.bundle,
        facts=platform.facts,
        lease_s=lease_s,
    )
