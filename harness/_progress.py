"""Progress: what is being done, what it waits for, since when.

On a terminal a live table; elsewhere (CI logs, pipes) plain lines: one when a step starts, one when it ends, and one now
and then for a step that takes long.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from harness._clock import CLOCK, Clock

REMIND_EVERY_S = 20.0


@dataclass
class Step:
    """One running step; call `note` to say what it waits for now."""

    name: str
    started_s: float
    waiting_for: str = ""
    said_s: float = field(default=0.0)

    def note(self, text: object) -> None:
        """Say what the step is waiting for (shown with the step)."""
        self.waiting_for = str(text)


class Show:
    """A display of concurrent steps; use `showing()` to get one, and `with show.step(name) as step` for each step."""

    def __init__(self, stream: TextIO, *, live: bool, clock: Clock = CLOCK) -> None:
        self._stream, self._live, self._clock = stream, live, clock
        self._lock = threading.Lock()
        self._running: list[Step] = []
        self._done: list[tuple[str, str, float, str]] = []
        self.title, self.total = "", 0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show `name` as running until the block ends; a failure is shown as one, and raised."""
        step = Step(name, self._clock.monotonic())
        step.said_s = step.started_s
        with self._lock:
            self._running.append(step)
        self._line(f"… {name}")
        mark, why = "✗", ""
        try:
            yield step
            mark = "✓"
        except BaseException as err:
            why = f"  {type(err).__name__}: {str(err).splitlines()[0] if str(err) else ''}"[:160]
            raise
        finally:
            took_s = self._clock.monotonic() - step.started_s
            with self._lock:
                self._running.remove(step)
                self._done.append((mark, name, took_s, why))
            self._line(f"{mark} {name}  {took_s:.1f} s{why}")

    def say(self, text: str) -> None:
        """Print one line that stays."""
        if self._live:
            with self._lock:
                self._done.append(("·", text, -1.0, ""))
        else:
            self._line(f"· {text}")

    def _line(self, text: str) -> None:
        if not self._live:
            with self._lock:
                self._stream.write(text + "\n")
                self._stream.flush()

    def remind(self) -> None:
        """On a plain stream: say again what long steps wait for."""
        now_s = self._clock.monotonic()
        for step in list(self._running):
            if now_s - step.said_s >= REMIND_EVERY_S:
                step.said_s = now_s
                waiting = f": {step.waiting_for}" if step.waiting_for else ""
                self._line(f"  {step.name}, {now_s - step.started_s:.0f} s so far{waiting}")

    def __rich__(self) -> object:
        """The live table."""
        from rich.table import Table
        from rich.text import Text

        now_s = self._clock.monotonic()
        table = Table.grid(padding=(0, 1))
        with self._lock:
            for mark, name, took_s, why in self._done[-40:]:
                colour = {"✓": "green", "✗": "red"}.get(mark, "cyan")
                took = f"{took_s:.1f} s" if took_s >= 0 else ""
                table.add_row(Text(mark, style=colour), name, Text(took, style="dim"), Text(why.strip(), style="red"))
            for step in self._running:
                since = f"{now_s - step.started_s:.0f} s"
                table.add_row(
                    Text("⠿", style="yellow"), step.name, Text(since, style="yellow"), Text(step.waiting_for, "dim")
                )
        return table


@contextlib.contextmanager
def showing(stream: TextIO | None = None) -> Iterator[Show]:
    """A `Show` on `stream` (standard error by default), live when that is a terminal."""
    out = stream or sys.stderr
    live = out.isatty()
    show = Show(out, live=live)
    if live:
        from rich.console import Console
        from rich.live import Live

        with Live(show, console=Console(file=out), refresh_per_second=4, transient=False):  # type: ignore[arg-type]
            yield show
        return
    stop = threading.Event()

    def remind() -> None:
        while not stop.wait(2):
            show.remind()

    reminder = threading.Thread(target=remind, name="progress", daemon=True)
    reminder.start()
    try:
        yield show
    finally:
        stop.set()
        reminder.join()
