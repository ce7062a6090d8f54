"""CoreDNS: kubeadm installs it; here it is made to answer quickly after a restart, and gated on."""

from __future__ import annotations

from harness.stack.base import Component, StackContext, workloads_ready


def install(ctx: StackContext) -> None:
    """Nothing to do: kubeadm has installed it."""


def healthy(ctx: StackContext) -> str:
    """Empty when its Deployment is available."""
    return workloads_ready(ctx.kube, "kube-system", "coredns")


COMPONENT = Component(
    "coredns", install, healthy, needs=("calico",), version=lambda ctx: ctx.bundle.versions["coredns"]
)
