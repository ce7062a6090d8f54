"""The one seam for time. Nothing else in the harness reads a clock or sleeps."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the harness needs of a clock; unit tests pass a fake one whose `sleep` advances a number."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`."""
        time.sleep(seconds)


CLOCK: Clock = SystemClock()


def utc_text(wall_s: float) -> str:
    """`wall_s` as RFC 3339 with milliseconds, UTC."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time such as Kubernetes and Prometheus write (any fraction length)."""
    head, _, zone = text.replace("Z", "+00:00").partition("+")
    main, _, fraction = head.partition(".")
    stamp = datetime.fromisoformat(f"{main}+{zone or '00:00'}").timestamp()
    return stamp + (float(f"0.{fraction}") if fraction else 0.0)
