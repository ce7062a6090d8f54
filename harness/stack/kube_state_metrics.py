"""kube-state-metrics: what the API knows of Deployments, pods and nodes, as metrics."""

from __future__ import annotations

from harness.stack import _monitoring as monitoring
from harness.stack.base import Component, StackContext, workloads_ready


def install(ctx: StackContext) -> None:
    """Apply it."""
    monitoring.apply(ctx, "kube-state-metrics", image=ctx.bundle.image("kube-state-metrics"))


def healthy(ctx: StackContext) -> str:
    """Empty when its pods are ready."""
    return workloads_ready(ctx.kube, monitoring.NAMESPACE, "kube-state-metrics")


COMPONENT = Component(
    "kube-state-metrics",
    install,
    healthy,
    needs=("calico", "coredns"),
    version=lambda ctx: ctx.bundle.versions["kube-state-metrics"],
)
