"""The receiver, as the harness reads it: which notifications arrived, when, by which clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness._clock import CLOCK, Clock, parse_utc
from harness.env import Env
from harness.observe._http import Endpoint, Line

CLOCK_SAMPLES = 5


@dataclass(frozen=True)
class Notification:
    """One alert of one notification that arrived at the receiver.

    Args:
        seq: its number in the order of arrival.
        arrived_wall_s: when, by the receiver's clock.
        name: of the alert.
        status: `firing` or `resolved`.
        labels: its other labels.
        starts_at_wall_s: when the alert says that it began to fire.
    """

    seq: int
    arrived_wall_s: float
    name: str
    status: str
    labels: dict[str, str]
    starts_at_wall_s: float | None


@dataclass(frozen=True)
class ClockOffset:
    """How far the receiver's clock is ahead of ours, and by how much that may be wrong."""

    offset_s: float
    err_s: float


class Receiver:
    """A connection to the receiver.

    Args:
        url: such as `http://127.0.0.1:32768`.
        clock: the seam for tests.
    """

    def __init__(self, url: str, *, clock: Clock = CLOCK) -> None:
        self.url, self._clock = url, clock
        self._line = Line(Endpoint(url, timeout_s=3.0))

    def after(self, seq: int, *, wait_s: int = 0) -> tuple[list[Notification], int]:
        """What arrived after number `seq`, and the last number; waits up to `wait_s` for something to arrive."""
        answer = self._line.get_json(f"/notifications?after={seq}&wait={wait_s}", timeout_s=wait_s + 3.0)
        return [_notification(a) for a in answer["alerts"]], int(answer["last"])

    def last(self) -> int:
        """The number of the last one that arrived."""
        # No number is higher than this one, so that nothing but the last number comes back.
        return int(self._line.get_json(f"/notifications?after={2**62}")["last"])

    def clock_offset(self) -> ClockOffset:
        """Measure its clock against ours; the quickest of a few answers says most."""
        best: ClockOffset | None = None
        for _ in range(CLOCK_SAMPLES):
            sent_s = self._clock.wall()
            theirs_s = int(self._line.get_json("/time")["now_ns"]) / 1e9
            came_s = self._clock.wall()
            sample = ClockOffset(theirs_s - (sent_s + came_s) / 2, (came_s - sent_s) / 2)
            if best is None or sample.err_s < best.err_s:
                best = sample
        return best or ClockOffset(0.0, 0.0)

    def cut(self) -> None:
        """End a waiting `after` of another thread."""
        self._line.cut()

    def close(self) -> None:
        """Close the connection."""
        self._line.close()


def receiver_of(env: Env) -> Receiver:
    """The receiver of an environment that is up."""
    return Receiver(f"http://127.0.0.1:{env.load()['receiver_port']}")


def _notification(raw: dict[str, Any]) -> Notification:
    labels = dict(raw.get("labels") or {})
    starts = str(raw.get("starts_at") or "")
    return Notification(
        seq=int(raw["seq"]),
        arrived_wall_s=int(raw["arrived_ns"]) / 1e9,
        name=labels.pop("alertname", ""),
        status=str(raw.get("status", "")),
        labels=labels,
        starts_at_wall_s=parse_utc(starts) if starts else None,
    )
