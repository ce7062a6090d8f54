"""With three control planes, one may go."""

from __future__ import annotations

import pytest

from harness.faults import PowerOff
from harness.judge import must_fire, must_resolve, no_outage, nothing_else_fires, users

# Kubernetes itself waits 50 s (node-monitor-grace-period) before it calls a silent node not ready; the rule waits on top.
NODE_TOLD_S = 120


@pytest.mark.exclusive
@pytest.mark.control_planes(3)
def test_losing_one_of_three_control_planes_is_not_felt_by_users(story, platform, shoppers):
    """One of three control planes loses its power: on-call is told of the node, the rest goes on, users feel nothing."""
    lost = [n.name for n in platform.cluster.nodes if n.role == "control-plane"][-1]
    with story(load=shoppers.steady()) as s:
        s.expect(
            must_fire("NodeNotReady", {"node": lost}, within_s=NODE_TOLD_S),
            must_resolve("NodeNotReady"),
            nothing_else_fires(),
            no_outage(),
            users(after="recovery", errors_below=0.01, p95_below_s=3),
        )
        s.inject(PowerOff(node=lost, max_s=300), until=s.delivered("NodeNotReady"))
