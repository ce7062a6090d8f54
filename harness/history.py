"""The history of one scenario: an append-only, crash-safe file of records on one clock.

One JSON object a line. The first line is the header; every other line is a record:

    {"t_s": 12.345, "wall_s": 1700000012.345, "source": "fault", "event": "proven", "err_s": 0.02, "data": {...}}

`t_s` is the best estimate of *when it happened*, in seconds on the runner's monotonic clock since the header was
written; `err_s` is the half-width of its uncertainty (poll interval, clock offset). The vocabulary of sources and
events is in docs/reference/history.md.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from harness._clock import CLOCK, Clock
from harness._errors import HistoryError

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """One thing that happened: when, by how much that may be off, who says so, and what."""

    t_s: float
    wall_s: float
    source: str
    event: str
    err_s: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """What the history is about: `scenario`, `run`, `start_wall_s`, and free `data` (profile, versions, ...)."""

    scenario: str
    run: str
    start_wall_s: float
    data: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


class HistoryWriter:
    """Appends records; safe to use from several recorder threads; every line is flushed at once.

    Args:
        path: the file; must not exist yet.
        scenario: the scenario's name.
        run: the run's id.
        data: facts for the header.
        clock: the seam for tests.
    """

    def __init__(
        self, path: Path, *, scenario: str, run: str, data: dict[str, Any] | None = None, clock: Clock = CLOCK
    ) -> None:
        self.path, self._clock, self._lock = path, clock, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("x", encoding="utf-8")
        self._start_mono, self.start_wall_s = clock.monotonic(), clock.wall()
        self._write(
            {
                "schema": SCHEMA,
                "scenario": scenario,
                "run": run,
                "start_wall_s": self.start_wall_s,
                "data": data or {},
            }
        )

    def now_s(self) -> float:
        """Seconds since the header was written, on the monotonic clock."""
        return self._clock.monotonic() - self._start_mono

    def at_wall(self, wall_s: float) -> float:
        """A wall-clock time of this machine as `t_s`."""
        return self.now_s() + (wall_s - self._clock.wall())

    def mark(self, source: str, event: str, *, t_s: float | None = None, err_s: float = 0.0, **data: Any) -> Record:
        """Append one record; `t_s` defaults to now. Returns it."""
        when_s = self.now_s() if t_s is None else t_s
        wall_s = self._clock.wall() - self.now_s() + when_s
        record = Record(round(when_s, 4), round(wall_s, 4), source, event, round(err_s, 4), data)
        self._write(_as_json(record))
        return record

    def _write(self, obj: dict[str, Any]) -> None:
        line = json.dumps(obj, separators=(",", ":"), default=str) + "\n"
        with self._lock:
            if not self._file.closed:
                self._file.write(line)
                self._file.flush()

    def close(self) -> None:
        """Write the end mark, so that a truncated history can be told from a whole one, and close the file."""
        self.mark("story", "closed")
        with self._lock:
            self._file.close()


@dataclass(frozen=True)
class History:
    """A history read back: records in the order of `t_s`."""

    header: Header
    records: tuple[Record, ...]
    truncated: bool = False

    def of(self, source: str, event: str | None = None) -> Iterator[Record]:
        """The records of a source, and of one event if given."""
        return (r for r in self.records if r.source == source and (event is None or r.event == event))

    def first(self, source: str, event: str, **data: Any) -> Record | None:
        """The first record of that source and event whose data has the given values."""
        return next((r for r in self.of(source, event) if all(r.data.get(k) == v for k, v in data.items())), None)

    def last(self, source: str, event: str, **data: Any) -> Record | None:
        """The last such record."""
        found = None
        for r in self.of(source, event):
            if all(r.data.get(k) == v for k, v in data.items()):
                found = r
        return found


def read_history(path: Path) -> History:
    """Read a history file.

    A last line that is cut off, or a missing end mark, makes `truncated` true (the runner died); checks then give
    UNKNOWN.

    Raises:
        HistoryError: no such file, an empty one, a broken line before the last one, or a newer schema.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as err:
        raise HistoryError("cannot read the history", where=str(path), last=err) from err
    if not lines:
        raise HistoryError("the history is empty", where=str(path), fix="run the scenario again")
    objects: list[dict[str, Any]] = []
    broken_end = False
    for number, line in enumerate(lines, 1):
        try:
            objects.append(json.loads(line))
        except json.JSONDecodeError as err:
            if number == len(lines) and number > 1:
                broken_end = True
                break
            raise HistoryError("a line is not JSON", where=f"{path}:{number}", last=str(err)) from err
    head = objects[0]
    if head.get("schema") != SCHEMA:
        raise HistoryError(
            f"schema {head.get('schema')} is not the one this version reads ({SCHEMA})",
            where=f"{path}:1",
            fix="judge it with the version of the harness that wrote it, or a newer one",
        )
    header = Header(head["scenario"], head["run"], head["start_wall_s"], head.get("data", {}), head["schema"])
    records = sorted((Record(**o) for o in objects[1:]), key=lambda r: r.t_s)
    ended = any(r.source == "story" and r.event == "closed" for r in records)
    return History(header, tuple(records), truncated=broken_end or not ended)


def _as_json(record: Record) -> dict[str, Any]:
    out: dict[str, Any] = {
        "t_s": record.t_s,
        "wall_s": record.wall_s,
        "source": record.source,
        "event": record.event,
    }
    if record.err_s:
        out["err_s"] = record.err_s
    if record.data:
        out["data"] = record.data
    return out
