"""Loki: keeps the logs, one small process with its files on the node."""

from __future__ import annotations

from harness.kube import Kube
from harness.stack import _monitoring as monitoring
from harness.stack.base import Component, StackContext, workloads_ready


def install(ctx: StackContext) -> None:
    """Apply it."""
    monitoring.apply(ctx, "loki", image=ctx.bundle.image("loki"), node_port=monitoring.PORTS["loki"])


def healthy(ctx: StackContext) -> str:
    """Empty when it takes and answers."""
    return workloads_ready(ctx.kube, monitoring.NAMESPACE, "loki") or monitoring.answers(f"{url(ctx)}/ready")


def url(ctx: StackContext) -> str:
    """Its API, as the runner reaches it."""
    return url_of(ctx.kube)


def url_of(kube: Kube) -> str:
    """Its API, as the runner reaches it."""
    return monitoring.node_url(kube, monitoring.PORTS["loki"])


COMPONENT = Component(
    "loki",
    install,
    healthy,
    needs=("calico", "coredns"),
    version=lambda ctx: ctx.bundle.versions["loki"],
)
