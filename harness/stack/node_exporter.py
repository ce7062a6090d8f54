"""node-exporter: the figures of each machine."""

from __future__ import annotations

from harness.stack import _monitoring as monitoring
from harness.stack.base import Component, StackContext, workloads_ready


def install(ctx: StackContext) -> None:
    """Apply it."""
    monitoring.apply(ctx, "node-exporter", image=ctx.bundle.image("node-exporter"))


def healthy(ctx: StackContext) -> str:
    """Empty when its pods are ready."""
    return workloads_ready(ctx.kube, monitoring.NAMESPACE, "node-exporter")


COMPONENT = Component(
    "node-exporter",
    install,
    healthy,
    needs=("calico", "coredns"),
    version=lambda ctx: ctx.bundle.versions["prometheus"],
)
