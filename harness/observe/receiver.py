"""What reaches on-call: every notification at the receiver, timed by the receiver's own clock."""

from __future__ import annotations

from harness._clock import CLOCK, Clock
from harness.history import HistoryWriter
from harness.observe._http import UNREACHABLE, say
from harness.observe.recorder import Recorder
from harness.platform.receiver import ClockOffset, Receiver

WAIT_S = 1
RETRY_S = 0.5
CLOCK_CHECK_EVERY_S = 30.0


class ReceiverRecorder(Recorder):
    """Long-polls the receiver."""

    def __init__(self, receiver: Receiver, *, clock: Clock = CLOCK) -> None:
        super().__init__("receiver")
        self._receiver, self._clock = receiver, clock
        self._seq: int | None = None
        self._offset = ClockOffset(0.0, 0.0)
        self._checked_s: float | None = None

    def record(self, history: HistoryWriter) -> None:
        """Read until stopped; what arrived before the start is not told."""
        while not self.stopping.is_set():
            try:
                self._look(history)
                self.ready.set()
            except UNREACHABLE as err:
                self._receiver.close()
                self._checked_s = None
                if not self.stopping.is_set():
                    history.mark("receiver", "poll", ok=False, error=say(err))
                    self.stopping.wait(RETRY_S)

    def wake(self) -> None:
        """End the waiting."""
        self._receiver.cut()

    def close(self) -> None:
        """Close the connection."""
        self._receiver.close()

    def _look(self, history: HistoryWriter) -> None:
        now_s = self._clock.monotonic()
        if self._checked_s is None or now_s - self._checked_s >= CLOCK_CHECK_EVERY_S:
            self._offset, self._checked_s = self._receiver.clock_offset(), now_s
        if self._seq is None:
            self._seq, wait_s = self._receiver.last(), 0
        else:
            wait_s = WAIT_S if self.ready.is_set() else 0
        arrived, last = self._receiver.after(self._seq, wait_s=wait_s)
        history.mark("receiver", "poll", ok=True)
        for note in arrived:
            wall_s = note.arrived_wall_s - self._offset.offset_s
            history.mark(
                "receiver",
                "delivered",
                t_s=history.at_wall(wall_s),
                err_s=self._offset.err_s,
                name=note.name,
                status=note.status,
                labels=note.labels,
                starts_at_wall_s=note.starts_at_wall_s,
                arrived_wall_s=round(wall_s, 4),
            )
        self._seq = last  # lower than before when the receiver lost its file: it counts anew
