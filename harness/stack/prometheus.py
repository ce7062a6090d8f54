"""Prometheus: scrapes the platform at the profile's pace and evaluates our rules."""

from __future__ import annotations

import json

from harness.kube import Kube
from harness.stack import _monitoring as monitoring
from harness.stack import rules
from harness.stack.base import Component, StackContext, workloads_ready

CADVISOR_EVERY_S = 15.0  # its page is long; nothing that reads it is in a hurry


def install(ctx: StackContext) -> None:
    """Apply it with the rules of the profile."""
    without = frozenset(ctx.facts.get("rules_without", ()))
    monitoring.apply(
        ctx,
        "prometheus",
        image=ctx.bundle.image("prometheus"),
        node_port=monitoring.PORTS["prometheus"],
        rules=json.dumps(rules.rule_file(ctx.profile, without=without), indent=1),
        cadvisor_every_s=max(CADVISOR_EVERY_S, ctx.profile.scrape_s),
        resend_s=min(60.0, max(10.0, 2 * ctx.profile.eval_s)),
    )


def healthy(ctx: StackContext) -> str:
    """Empty when it serves and has loaded the rules."""
    return workloads_ready(ctx.kube, monitoring.NAMESPACE, "prometheus") or monitoring.answers(f"{url(ctx)}/-/ready")


def url(ctx: StackContext) -> str:
    """Its API, as the runner reaches it."""
    return url_of(ctx.kube)


def url_of(kube: Kube) -> str:
    """Its API, as the runner reaches it."""
    return monitoring.node_url(kube, monitoring.PORTS["prometheus"])


COMPONENT = Component(
    "prometheus",
    install,
    healthy,
    needs=("calico", "coredns"),
    version=lambda ctx: ctx.bundle.versions["prometheus"],
)
