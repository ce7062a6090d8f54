"""Somebody changes the cluster by hand; Git is the truth."""

from __future__ import annotations

from harness.faults import DriftDelete, DriftScale, Object, Workload
from harness.judge import heals, nothing_else_fires, users


def test_scaling_a_deployment_to_zero_by_hand_is_healed(story, boutique, shoppers):
    """Recommendations are scaled to zero by hand: Argo CD puts them back within its budget."""
    with story(load=shoppers.steady()) as s:
        s.expect(
            heals("Deployment", "recommendationservice"),
            nothing_else_fires(),
            users(after="recovery", errors_below=0.01, p95_below_s=3),
        )
        s.inject(
            DriftScale(target=Workload(boutique.namespace, "recommendationservice"), replicas=0), until=s.converged
        )


def test_deleting_a_service_by_hand_is_healed(story, boutique, shoppers):
    """The ad service's Service is deleted by hand: Argo CD makes it again within its budget."""
    with story(load=shoppers.steady()) as s:
        s.expect(
            heals("Service", "adservice"),
            nothing_else_fires(),
            users(after="recovery", errors_below=0.01, p95_below_s=3),
        )
        s.inject(DriftDelete(target=Object("Service", boutique.namespace, "adservice")), until=s.converged)
