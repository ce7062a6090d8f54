"""Who watches the watchmen: the alerting itself goes, and no alert can say so."""

from __future__ import annotations

import pytest

from harness.faults import AlertmanagerDown
from harness.judge import stays_below, users, watchdog_silent

CART_LIMIT_BYTES = 128 * 2**20  # its memory limit: beyond it the kernel would kill it


@pytest.mark.exclusive
def test_losing_alertmanager_is_noticed_by_the_watchdogs_silence(story, shoppers):
    """Alertmanager is gone: nothing reaches on-call, who notices by not hearing the Watchdog; users feel nothing."""
    with story(load=shoppers.steady()) as s:
        s.expect(
            watchdog_silent(),
            stays_below("memory", CART_LIMIT_BYTES, app="cartservice"),
            users(after="recovery", errors_below=0.01, p95_below_s=3),
        )
        s.inject(AlertmanagerDown(max_s=300), until=s.watchdog_silent)
