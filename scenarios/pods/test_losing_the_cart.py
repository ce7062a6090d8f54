"""The cart is the service that every page needs."""

from __future__ import annotations

import pytest

from harness.faults import KeptDown, PodKill, Workload
from harness.judge import (
    must_fire,
    must_not_fire,
    must_resolve,
    no_outage,
    nothing_else_fires,
    outage_seen,
    recovers,
    users,
)


def test_losing_the_only_cart_pod_is_felt_by_users_but_wakes_nobody(story, boutique, shoppers):
    """One cart pod, killed once: users feel a short outage; no alert, for it is shorter than the rule waits."""
    with story(load=shoppers.steady()) as s:
        s.expect(
            outage_seen(),
            recovers("cartservice"),
            must_not_fire("CartServiceDown"),
            nothing_else_fires(),
            users(after="recovery", errors_below=0.01, p95_below_s=3),
        )
        s.inject(PodKill(target=Workload(boutique.namespace, "cartservice"), mode="force"))


def test_losing_the_cart_for_longer_than_the_rule_waits_reaches_on_call(story, boutique, shoppers):
    """The cart stays down past the rule's `for`: on-call is told, once, and told again when it is over."""
    with story(load=shoppers.steady()) as s:
        s.expect(
            must_fire("CartServiceDown"),
            must_resolve("CartServiceDown"),
            nothing_else_fires(),
            recovers("cartservice"),
            users(after="recovery", errors_below=0.01, p95_below_s=3),
        )
        s.inject(
            KeptDown(target=Workload(boutique.namespace, "cartservice"), max_s=300),
            until=s.delivered("CartServiceDown"),
        )


@pytest.mark.overlay("hardened")
def test_losing_one_of_two_cart_pods_is_not_felt(story, boutique, shoppers):
    """Two cart pods, one killed: users feel nothing, on-call hears nothing."""
    with story(load=shoppers.steady()) as s:
        s.expect(
            no_outage(),
            recovers("cartservice"),
            nothing_else_fires(),
            users(after="recovery", errors_below=0.01, p95_below_s=3),
        )
        s.inject(PodKill(target=Workload(boutique.namespace, "cartservice")))
