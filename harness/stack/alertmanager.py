"""Alertmanager: groups alerts and delivers them to the receiver outside the cluster."""

from __future__ import annotations

from harness.kube import Kube
from harness.stack import _monitoring as monitoring
from harness.stack import rules
from harness.stack.base import Component, StackContext, workloads_ready


def install(ctx: StackContext) -> None:
    """Apply it with the profile's waits and the receiver's address."""
    monitoring.apply(
        ctx,
        "alertmanager",
        image=ctx.bundle.image("alertmanager"),
        node_port=monitoring.PORTS["alertmanager"],
        receiver_url=ctx.facts["receiver_url"],
        watchdog=rules.WATCHDOG,
        watchdog_repeat_s=ctx.profile.watchdog_s,
    )


def healthy(ctx: StackContext) -> str:
    """Empty when it serves."""
    return workloads_ready(ctx.kube, monitoring.NAMESPACE, "alertmanager") or monitoring.answers(f"{url(ctx)}/-/ready")


def url(ctx: StackContext) -> str:
    """Its API, as the runner reaches it."""
    return url_of(ctx.kube)


def url_of(kube: Kube) -> str:
    """Its API, as the runner reaches it."""
    return monitoring.node_url(kube, monitoring.PORTS["alertmanager"])


COMPONENT = Component(
    "alertmanager",
    install,
    healthy,
    needs=("calico", "coredns"),
    version=lambda ctx: ctx.bundle.versions["prometheus"],
)
