"""Waiting: every wait has a name, a budget in seconds, a streak, a fatal state, and says what it last saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from harness._clock import CLOCK, Clock
from harness._errors import FatalState, WaitTimeout

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """How long a wait may take.

    Args:
        total_s: seconds until the wait fails.
        every_s: seconds between two probes.
        streak: how many probes in a row must be good.
    """

    total_s: float
    every_s: float = 0.5
    streak: int = 1

    def __post_init__(self) -> None:
        if self.total_s <= 0 or self.every_s <= 0 or self.streak < 1:
            raise ValueError(f"a budget needs positive times and a streak of at least 1: {self}")


def wait_for(
    what: str,
    probe: Callable[[], T],
    ready: Callable[[T], object],
    budget: Budget,
    *,
    fatal: Callable[[T], object] = lambda _: False,
    on_poll: Callable[[T], object] = lambda _: None,
    fix: str = "",
    clock: Clock = CLOCK,
) -> T:
    """Probe until `ready(value)` holds `budget.streak` times in a row; return the last value.

    A probe turns the errors that it expects into a value (`"api unreachable"`); any other exception ends the wait.

    Args:
        what: the name of the thing waited for, for messages.
        probe: reads the state; must have a time-out of its own, shorter than the budget.
        ready: whether the state is the wanted one.
        budget: how long, how often, how many times in a row.
        fatal: whether the state can never become the wanted one.
        on_poll: told each value, for progress displays.
        fix: what the user can try when the budget runs out.
        clock: the seam for tests.

    Raises:
        WaitTimeout: the budget ran out; carries the last value.
        FatalState: `fatal(value)` held.
    """
    start = clock.monotonic()
    deadline, hits, polls = start + budget.total_s, 0, 0
    while True:
        last, polls = probe(), polls + 1
        on_poll(last)
        if fatal(last):
            raise FatalState(f"{what}: cannot succeed any more", last=last, fix=fix)
        hits = hits + 1 if ready(last) else 0
        if hits >= budget.streak:
            return last
        left = deadline - clock.monotonic()
        if left <= 0:
            raise WaitTimeout(f"{what}: not met in {budget.total_s:g} s ({polls} polls)", last=last, fix=fix)
        clock.sleep(min(budget.every_s, left))
