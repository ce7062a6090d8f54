"""The trend store: what earlier runs measured, in one SQLite file; the flake ledger reads from it."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness._errors import HistoryError
from harness.judge import ScenarioResult, aggregate

_TABLES = """
create table if not exists run (
  run text primary key, started_wall_s real not null, profile text not null, provider text not null, verdict text not null
) strict;
create table if not exists figure (
  run text not null references run on delete cascade, name text not null, n integer not null,
  median_s real not null, p95_s real not null, worst_s real not null, err_s real not null, primary key (run, name)
) strict;
create table if not exists scenario (
  run text not null references run on delete cascade, scenario text not null, verdict text not null,
  why text not null, duration_s real not null, primary key (run, scenario)
) strict;
"""


@dataclass(frozen=True)
class Past:
    """A figure of an earlier run."""

    run: str
    started_wall_s: float
    n: int
    median_s: float
    p95_s: float
    err_s: float


@dataclass(frozen=True)
class Flake:
    """How often a scenario did not pass, with the Wilson 95 % interval of that share."""

    scenario: str
    runs: int
    not_passed: int
    low: float
    high: float

    @property
    def flaky(self) -> bool:
        """Sometimes passed, sometimes not."""
        return 0 < self.not_passed < self.runs


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share; (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, z * z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(middle - half, 0.0), min(middle + half, 1.0)


@contextmanager
def _store(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=10)) as db, db:
            db.execute("pragma foreign_keys = on")
            db.executescript(_TABLES)
            yield db
    except sqlite3.DatabaseError as err:
        raise HistoryError("the trend store cannot be used", where=str(path), last=err, fix="move it away") from err


def remember(path: Path, results: Sequence[ScenarioResult], info: dict[str, Any], verdict: str) -> None:
    """Store a run; a run that is judged again replaces its earlier entry."""
    run = str(info["run"])
    stats = aggregate(f for r in results for f in r.figures).values()
    with _store(path) as db:
        db.execute("delete from run where run = ?", (run,))
        started_s = float(info.get("started_wall_s") or 0)
        about = (run, started_s, str(info.get("profile", "")), str(info.get("provider", "")), verdict)
        db.execute("insert into run values (?, ?, ?, ?, ?)", about)
        rows = [(run, s.name, s.n, s.median_s, s.p95_s, s.worst_s, s.err_s) for s in stats]
        db.executemany("insert into figure values (?, ?, ?, ?, ?, ?, ?)", rows)
        cases = [(run, r.scenario, r.verdict.name, r.why, r.duration_s) for r in results]
        db.executemany("insert or replace into scenario values (?, ?, ?, ?, ?)", cases)


def past(path: Path, info: dict[str, Any], limit: int) -> dict[str, list[Past]]:
    """The figures of the last runs before this one of the same profile and provider, oldest first, by name."""
    if not path.exists():
        return {}
    query = """
      select f.name, f.run, r.started_wall_s, f.n, f.median_s, f.p95_s, f.err_s from figure f join run r using (run)
      where r.run in (select run from run where profile = ? and provider = ? and run != ? and started_wall_s <= ?
                      order by started_wall_s desc limit ?)
      order by r.started_wall_s
    """
    started_s = float(info.get("started_wall_s") or math.inf)
    keys = (str(info.get("profile", "")), str(info.get("provider", "")), str(info["run"]), started_s, limit)
    found: dict[str, list[Past]] = {}
    with _store(path) as db:
        for name, *rest in db.execute(query, keys):
            found.setdefault(name, []).append(Past(*rest))
    return found


def flakes(path: Path, last_runs: int = 50) -> list[Flake]:
    """The flake ledger: every scenario over the last runs, those that failed most first. Nothing is ever rerun."""
    if not path.exists():
        return []
    query = """
      select scenario, count(*), sum(verdict != 'PASS') from scenario
      where run in (select run from run order by started_wall_s desc limit ?)
      group by scenario order by 3 desc, 1
    """
    with _store(path) as db:
        rows = db.execute(query, (last_runs,)).fetchall()
    return [Flake(name, n, bad, *wilson(bad, n)) for name, n, bad in rows]
