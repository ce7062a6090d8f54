"""Profiles: the timing of detection, from which every budget is derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness._errors import ContractError

# Argo CD waits this long before the n-th self-heal of one revision; a new commit starts over.
SELF_HEAL_BACKOFF_S = (0.0, 2.0, 6.0, 18.0, 54.0, 162.0, 300.0)


@dataclass(frozen=True)
class Profile:
    """How fast the platform notices, and so how long a contract may wait.

    Args:
        name: `fast`, `reference` or `stock`.
        scrape_s: Prometheus scrapes its targets this often.
        eval_s: Prometheus evaluates its rules this often.
        for_s: how long a condition must hold before its alert fires.
        group_wait_s: Alertmanager waits this long before the first notification of a group.
        resolve_s: Alertmanager sends the resolved message at most this much later (`group_interval`).
        alert_for_s: rules whose `for` differs from `for_s`.
        ready_s: a replacement pod may take this long from creation to Ready and served traffic.
        sync_s: Argo CD may take this long from noticing to applied.
        refresh_s: Argo CD may take this long to notice a push (webhook, or the polling interval).
    """

    name: str
    scrape_s: float
    eval_s: float
    for_s: float
    group_wait_s: float
    resolve_s: float
    alert_for_s: Mapping[str, float] = field(default_factory=dict)
    ready_s: float = 60.0
    sync_s: float = 15.0
    refresh_s: float = 30.0

    def for_of(self, alert: str) -> float:
        """The `for` of that alert's rule."""
        return self.alert_for_s.get(alert, self.for_s)

    @property
    def watchdog_s(self) -> float:
        """Alertmanager tells on-call this often that alerting works."""
        return max(30.0, 2 * self.resolve_s)

    def noticed_s(self) -> float:
        """At most this long until a change has been scraped and evaluated: both, and one interval of each."""
        return 2 * (self.scrape_s + self.eval_s)

    def detect_s(self, alert: str) -> float:
        """At most this long from the fault's effect to the alert's delivery; a shorter budget cannot be kept."""
        return self.noticed_s() + self.for_of(alert) + self.group_wait_s

    def resolved_s(self) -> float:
        """At most this long from the end of the condition to the delivery of the resolved message."""
        return self.noticed_s() + self.resolve_s

    def heal_s(self, attempts: int) -> float:
        """At most this long from a drift to the live object equal to Git and healthy.

        Args:
            attempts: self-heals of this revision so far; each makes Argo CD wait longer.
        """
        step = min(max(attempts, 0), len(SELF_HEAL_BACKOFF_S) - 1)
        return SELF_HEAL_BACKOFF_S[step] + self.sync_s + self.ready_s

    def release_s(self) -> float:
        """At most this long from an accepted push to users served by the new revision everywhere."""
        return self.refresh_s + self.sync_s + 2 * self.ready_s

    def with_timing(self, timing: Mapping[str, Any]) -> Profile:
        """This profile with what the story recorded of the platform's real settings."""
        known = {"scrape_s", "eval_s", "for_s", "group_wait_s", "resolve_s", "ready_s", "sync_s", "refresh_s"}
        changes: dict[str, Any] = {k: float(v) for k, v in timing.items() if k in known and v is not None}
        if isinstance(timing.get("alert_for_s"), Mapping):
            changes["alert_for_s"] = {str(k): float(v) for k, v in timing["alert_for_s"].items()}
        return replace(self, **changes)


# NodeCPUHigh and its like look at five minutes in the reference platform; `fast` shortens them as well.
_FIVE_MINUTES = {"NodeCPUHigh": 300.0, "NodeMemoryHigh": 300.0, "RedisMemoryHigh": 300.0}

PROFILES: Mapping[str, Profile] = {
    "fast": Profile("fast", 5, 5, 10, 5, 5, alert_for_s=dict.fromkeys(_FIVE_MINUTES, 50.0)),
    "reference": Profile(
        "reference", 15, 15, 60, 30, 60, alert_for_s=_FIVE_MINUTES, ready_s=90, sync_s=30, refresh_s=180
    ),
    "stock": Profile("stock", 30, 30, 900, 30, 300, alert_for_s=_FIVE_MINUTES, ready_s=90, sync_s=30, refresh_s=180),
}


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ContractError: there is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise ContractError(f"no profile named {name!r}", fix=f"one of {', '.join(PROFILES)}") from None
