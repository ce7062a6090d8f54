"""Shapes: how many shoppers there are at a time. Pure functions of time, so they are known before a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """Until `until` (a share of the run's duration) there are `users` (a share of its peak).

    Args:
        until: when the stage ends, 0 to 1.
        users: how many shoppers, 0 to 1.
        at_once: whether they come all at once instead of at the run's spawn rate.
    """

    until: float
    users: float
    at_once: bool = False


SHAPES: dict[str, tuple[Stage, ...]] = {
    "steady": (Stage(1.0, 1.0),),
    # 10 -> 150 -> 10 with a peak of 150: the crowd is there within seconds, and goes again.
    "flash_sale": (Stage(0.3, 1 / 15), Stage(0.7, 1.0, at_once=True), Stage(1.0, 1 / 15, at_once=True)),
    # 50 -> 400 with a peak of 400: seven equal steps up, and the peak is held.
    "hpa": (*(Stage(0.1 * n, n / 8) for n in range(1, 8)), Stage(1.0, 1.0)),
}


def users_at(
    shape: str, elapsed_s: float, *, users: int, spawn_rate: float, duration_s: float
) -> tuple[int, float] | None:
    """How many shoppers there should be, and how many may come or go in a second; None when the run is over.

    Args:
        shape: one of `SHAPES`.
        elapsed_s: seconds since the run began.
        users: the peak.
        spawn_rate: shoppers a second, where the shape does not want them at once.
        duration_s: when the run is over, whatever the shape.
    """
    if elapsed_s >= duration_s:
        return None
    stage = next(s for s in SHAPES[shape] if elapsed_s < s.until * duration_s or s.until >= 1)
    count = max(1, round(users * stage.users))
    return count, float(max(count, users)) if stage.at_once else spawn_rate
