"""Promtail: reads the containers' logs on each node and sends them to Loki."""

from __future__ import annotations

from harness.stack import _monitoring as monitoring
from harness.stack.base import Component, StackContext, workloads_ready


def install(ctx: StackContext) -> None:
    """Apply it."""
    monitoring.apply(ctx, "promtail", image=ctx.bundle.image("promtail"))


def healthy(ctx: StackContext) -> str:
    """Empty when its pods are ready."""
    return workloads_ready(ctx.kube, monitoring.NAMESPACE, "promtail")


COMPONENT = Component(
    "promtail",
    install,
    healthy,
    needs=("calico", "coredns"),
    version=lambda ctx: ctx.bundle.versions["loki"],
)
