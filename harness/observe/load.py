"""Load under a scenario: shoppers in a subprocess, bounded in users and time, their requests in the history."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from harness._clock import CLOCK, Clock
from harness._errors import FatalState, UsageError, WaitTimeout
from harness._wait import Budget, wait_for
from harness.history import HistoryWriter

ROOT = Path(__file__).parents[2]
LOCUSTFILE = ROOT / "loadtests" / "shopper.py"
SHAPES = ("steady", "flash_sale", "hpa")
MAX_USERS, MAX_DURATION_S = 500, 3600.0
FIRST_REQUESTS = Budget(45, every_s=0.2)
GOOD_ENOUGH = 3  # good requests that prove that the load runs
STOP_S = 10.0  # between SIGTERM and SIGKILL


@dataclass(frozen=True)
class LoadSpec:
    """Who shops, where, how many and for how long.

    Args:
        port: the edge's port on the loopback address.
        host: the Boutique's host name: URL, Host header, SNI and the name in its certificate.
        ca_path: the CA that must have signed it, and no other.
        users: shoppers at the peak of the shape.
        spawn_rate: shoppers that may come in a second.
        duration_s: upper bound; the run ends by itself then.
        shape: one of `SHAPES`.
        address: where the edge listens; loopback only.
    """

    port: int
    host: str
    ca_path: Path
    users: int = 20
    spawn_rate: float = 10.0
    duration_s: float = 600.0
    shape: str = "steady"
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        problems = [
            (not _is_loopback(self.address), f"{self.address} is not a loopback address: load goes nowhere else"),
            (not 0 < self.port < 65536, f"{self.port} is not a port"),
            (not self.host, "it needs the Boutique's host name"),
            (not 0 < self.users <= MAX_USERS, f"{self.users} users, and a run may have 1 to {MAX_USERS}"),
            (not 0 < self.spawn_rate <= MAX_USERS, f"a spawn rate of {self.spawn_rate:g} a second makes no sense"),
            (
                not 0 < self.duration_s <= MAX_DURATION_S,
                f"{self.duration_s:g} s, and a run may last up to {MAX_DURATION_S:g} s",
            ),
            (self.shape not in SHAPES, f"no shape {self.shape!r}, only {', '.join(SHAPES)}"),
        ]
        for wrong, why in problems:
            if wrong:
                raise UsageError("this load cannot be run", last=why)

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps({**asdict(self), "ca_path": str(self.ca_path)})

    @classmethod
    def from_json(cls, text: str) -> LoadSpec:
        """Read a specification; fields that are left out have their defaults.

        Raises:
            UsageError: it is not JSON, misses a field, has an unknown one, or asks for something that cannot be.
        """
        try:
            data: dict[str, Any] = json.loads(text)
            unknown = set(data) - {f.name for f in fields(cls)}
            if unknown:
                raise UsageError("this load cannot be run", last=f"unknown fields: {', '.join(sorted(unknown))}")
            return cls(**{**data, "ca_path": Path(data["ca_path"])})
        except (json.JSONDecodeError, KeyError, TypeError) as err:
            raise UsageError("this load cannot be run", last=f"{type(err).__name__}: {err}") from err


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Tally:
    """How many requests there were, and how many of them failed."""

    requests: int = 0
    failures: int = 0


class RunningLoad:
    """Locust at work. Made by `load_running`."""

    def __init__(self, process: subprocess.Popen[bytes], records: Path, log: Path, history: HistoryWriter) -> None:
        self.records, self.log = records, log
        self._process, self._history = process, history
        self._asked_to_stop = threading.Event()
        self._ended_s: float | None = None
        self._counted, self._read_until, self._counting = Tally(), 0, threading.Lock()
        self._waiter = threading.Thread(target=self._note_end, name="load", daemon=True)
        self._waiter.start()

    def _note_end(self) -> None:
        self._process.wait()
        self._ended_s = self._history.now_s()

    @property
    def alive(self) -> bool:
        """Whether the shoppers are still at it."""
        return self._process.poll() is None

    def tally(self) -> Tally:
        """What has been recorded until now; only what is new since the last call is read."""
        with self._counting:
            for record, end in _records_from(self.records, self._read_until):
                new = Tally(self._counted.requests + 1, self._counted.failures + (not record["ok"]))
                self._counted, self._read_until = new, end
            return self._counted

    def log_tail(self, lines: int = 8) -> str:
        """The last lines that Locust wrote."""
        return "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-lines:])

    def stop(self) -> int:
        """End the run: SIGTERM (a background job ignores SIGINT), and SIGKILL after a deadline. Returns the exit code."""
        if self.alive:
            self._asked_to_stop.set()
            self._signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
        code = self._process.wait()
        self._waiter.join()
        return code

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it may end at this very moment
            os.killpg(self._process.pid, number)

    def merge(self) -> None:
        """Stop, and write what the shoppers saw into the history: `request` by `request`, and the `end`.

        The reason of the end is `stopped` (by us), `time is up`, or `died` (its data ends in the middle).
        """
        code = self.stop()
        failures = requests = 0
        for record in read_records(self.records):
            t_s = self._history.at_wall(record.pop("wall_s"))
            self._history.mark("load", "request", t_s=t_s, **record)
            requests, failures = requests + 1, failures + (not record["ok"])
        asked = self._asked_to_stop.is_set()
        reason = ("stopped" if asked else "time is up") if code == 0 else "died"
        data: dict[str, Any] = {"exit_code": code, "requests": requests, "failures": failures, "reason": reason}
        if reason == "died":
            data["error"] = self.log_tail()
        self._history.mark("load", "end", t_s=self._ended_s, **data)


@contextlib.contextmanager
def load_running(
    spec: LoadSpec,
    *,
    history: HistoryWriter,
    out_dir: Path,
    first: Budget = FIRST_REQUESTS,
    clock: Clock = CLOCK,
) -> Iterator[RunningLoad]:
    """Shoppers shop while the body runs; it begins once the first of them were served.

    Args:
        spec: what to run.
        history: receives `load`/`start`, `load`/`request` (when the body has ended) and `load`/`end`.
        out_dir: for `requests.jsonl` and `locust.log`.
        first: how long the first good requests may take.
        clock: the seam for tests.

    Raises:
        WaitTimeout: no good requests in time; carries the end of Locust's log.
        FatalState: Locust ended before it began.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    running = _start(spec, out_dir, history)
    try:
        _wait_for_first(running, first, clock)
        # From here on a silent load means something; before, Locust was starting.
        history.mark(
            "load",
            "start",
            t_s=history.at_wall(next(read_records(running.records))["wall_s"]),
            users=spec.users,
            spawn_rate=spec.spawn_rate,
            duration_s=spec.duration_s,
            shape=spec.shape,
            host=spec.host,
        )
        yield running
    finally:
        running.merge()


def _command() -> list[str]:
    args = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless", "--only-summary"]
    # Failed requests are what we want to see: they are no failure of Locust's.
    return [*args, "--exit-code-on-error", "0", "--stop-timeout", "2", "--loglevel", "WARNING"]


def _start(spec: LoadSpec, out_dir: Path, history: HistoryWriter) -> RunningLoad:
    """Start Locust in a process group of its own: Ctrl-C reaches us only, and we stop it in order."""
    records, log = out_dir / "requests.jsonl", out_dir / "locust.log"
    records.write_bytes(b"")
    env = {
        **os.environ,
        "LOAD_SPEC": spec.to_json(),
        "LOAD_RECORDS": str(records.resolve()),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    with log.open("wb") as sink:
        process = subprocess.Popen(
            _command(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=ROOT,
            start_new_session=True,
        )
    return RunningLoad(process, records, log, history)


def _wait_for_first(running: RunningLoad, first: Budget, clock: Clock) -> None:
    def probe() -> tuple[bool, Tally]:
        return running.alive, running.tally()

    def good(state: tuple[bool, Tally]) -> bool:
        return state[1].requests - state[1].failures >= GOOD_ENOUGH

    try:
        wait_for("the first good requests of the shoppers", probe, good, first, fatal=lambda s: not s[0], clock=clock)
    except (WaitTimeout, FatalState) as err:
        seen = [r.get("error", "") for r in read_records(running.records) if not r["ok"]][-1:]
        last = "\n".join(filter(None, [*seen, running.log_tail()])) or err.last
        raise type(err)(err.what, where=str(running.log), last=last, fix="is the shop up, and the edge?") from err


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The requests that were recorded; a last line that is cut off does not count."""
    return (record for record, _ in _records_from(path, 0))


def _records_from(path: Path, start: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Each whole record from that byte on, and the byte at which it ends."""
    with path.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            if line.endswith(b"\n"):
                start += len(line)
                yield json.loads(line), start
