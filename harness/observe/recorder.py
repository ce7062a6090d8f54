"""What a recorder is: one thread that appends to the history until it is told to stop.

A recorder lives through the errors that it expects (what it watches is down: it says so and tries on). Any other
error is a bug: it is written into the history as `story`/`error` and raised when the recording ends.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness._clock import CLOCK
from harness._errors import HarnessError
from harness.history import HistoryWriter

READY_S = 8.0  # for all recorders to see for the first time; one that does not is blind, which the judge notices
STOP_S = 5.0


class Recorder:
    """One source. A subclass overrides `record`, and `wake` if it blocks on something that an event cannot end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = threading.Event()
        self.stopping = threading.Event()
        self.error: Exception | None = None
        self._thread: threading.Thread | None = None

    def record(self, history: HistoryWriter) -> None:
        """Append to the history until `stopping` is set; set `ready` once it sees."""
        raise NotImplementedError

    def wake(self) -> None:
        """End a blocking call of `record`; called after `stopping` is set, from another thread."""

    def close(self) -> None:
        """Let go of connections; called by the recorder's own thread when it ends."""

    def finish(self, history: HistoryWriter) -> None:
        """Called once after all recorders have stopped."""

    def start(self, history: HistoryWriter) -> None:
        """Start recording."""
        self._thread = threading.Thread(target=self._run, args=(history,), name=f"record-{self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask it to stop; `join` waits."""
        self.stopping.set()
        self.wake()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; whether it came."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, history: HistoryWriter) -> None:
        try:
            self.record(history)
        except Exception as err:  # noqa: BLE001 - a bug in a recorder: recorded here, raised at the recording's end
            self.fail(history, err)
        finally:
            self.close()

    def fail(self, history: HistoryWriter, err: Exception) -> None:
        """Keep an unexpected error, in the history too."""
        self.error = err
        where = traceback.extract_tb(err.__traceback__)[-1]
        text = f"recorder {self.name}: {type(err).__name__}: {err} ({where.filename.rpartition('/')[2]}:{where.lineno})"
        history.mark("story", "error", text=text)
        self.ready.set()


class Poller(Recorder):
    """A recorder that looks once each `every_s`, on a steady beat."""

    def __init__(self, name: str, every_s: float = 1.0) -> None:
        super().__init__(name)
        self.every_s = every_s

    def look(self, history: HistoryWriter) -> None:
        """Look once; must have a time-out of its own and turn expected errors into records."""
        raise NotImplementedError

    def record(self, history: HistoryWriter) -> None:
        """Look until stopped; a slow look delays the next one, it does not pile up."""
        due_s = CLOCK.monotonic()
        while not self.stopping.is_set():
            self.look(history)
            self.ready.set()
            due_s = max(due_s + self.every_s, CLOCK.monotonic())
            self.stopping.wait(max(0.0, due_s - CLOCK.monotonic()))


@dataclass(frozen=True)
class Recording:
    """A running recording: its recorders by name."""

    recorders: Sequence[Recorder]

    def blind(self) -> tuple[str, ...]:
        """The recorders that have not seen anything yet."""
        return tuple(r.name for r in self.recorders if not r.ready.is_set())


@contextlib.contextmanager
def recording(
    history: HistoryWriter, recorders: Sequence[Recorder], *, ready_s: float = READY_S
) -> Iterator[Recording]:
    """Run `recorders` while the block runs; it starts when all see, or after `ready_s` seconds.

    Raises:
        HarnessError: a recorder broke (a bug, not an outage of what it watches) and the block itself did not fail.
    """
    running = Recording(tuple(recorders))
    try:
        for recorder in running.recorders:
            recorder.start(history)
        deadline_s = CLOCK.monotonic() + ready_s
        for recorder in running.recorders:
            recorder.ready.wait(max(0.0, deadline_s - CLOCK.monotonic()))
        yield running
    finally:
        broken = _stop(history, running.recorders)
    if broken:
        raise HarnessError("a recorder broke", last="; ".join(broken), fix="this is a bug of the harness: report it")


def _stop(history: HistoryWriter, recorders: Sequence[Recorder]) -> list[str]:
    for recorder in recorders:
        recorder.stop()
    deadline_s = CLOCK.monotonic() + STOP_S
    for recorder in recorders:
        if not recorder.join(max(0.0, deadline_s - CLOCK.monotonic())):
            history.mark("story", "error", text=f"recorder {recorder.name}: did not stop in {STOP_S:g} s")
    for recorder in recorders:
        try:
            recorder.finish(history)
        except Exception as err:  # noqa: BLE001 - as in _run; the other recorders shall still finish
            recorder.fail(history, err)
    return [f"{r.name}: {type(r.error).__name__}: {r.error}" for r in recorders if r.error is not None]
