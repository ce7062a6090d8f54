"""The load's specification, its shapes, and its life as a subprocess (a stand-in for Locust, so that this is quick)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness._errors import FatalState, UsageError, WaitTimeout
from harness._wait import Budget, wait_for
from harness.history import History, HistoryWriter, read_history
from harness.observe import load
from harness.observe.load import LoadSpec, load_running, read_records
from loadtests import shapes

SPEC = LoadSpec(port=8443, host="shop.example.test", ca_path=Path("ca.pem"))
QUICK = Budget(5, every_s=0.01)

# --- the specification


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"address": "10.0.0.1"}, "not a loopback address"),
        ({"address": "shop.example.com"}, "not a loopback address"),
        ({"port": 0}, "not a port"),
        ({"host": ""}, "host name"),
        ({"users": 0}, "1 to 500"),
        ({"users": 501}, "1 to 500"),
        ({"spawn_rate": 0}, "spawn rate"),
        ({"duration_s": -1}, "may last"),
        ({"duration_s": 1e9}, "may last"),
        ({"shape": "spiral"}, "no shape 'spiral'"),
    ],
)
def test_loads_that_cannot_be_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        LoadSpec(**{"port": 8443, "host": "shop.example.test", "ca_path": Path("ca.pem"), **change})


def test_a_specification_survives_its_journey() -> None:
    assert LoadSpec.from_json(SPEC.to_json()) == SPEC


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"port": 1, "host": "x", "ca_path": "y", "colour": 1}'])
def test_broken_specifications_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be run"):
        LoadSpec.from_json(text)


# --- shapes


def at(shape: str, elapsed_s: float, users: int = 150) -> int | None:
    found = shapes.users_at(shape, elapsed_s, users=users, spawn_rate=5, duration_s=100)
    return found and found[0]


def test_the_known_shapes() -> None:
    assert set(load.SHAPES) == set(shapes.SHAPES)
    assert [at("steady", t) for t in (0, 50, 99.9, 100, 1000)] == [150, 150, 150, None, None]
    assert [at("flash_sale", t) for t in (0, 29, 31, 69, 71, 100)] == [10, 10, 150, 150, 10, None]
    assert [at("hpa", t, 400) for t in (0, 11, 55, 71, 99)] == [50, 100, 300, 400, 400]


@pytest.mark.parametrize("shape", load.SHAPES)
def test_every_run_ends_and_never_exceeds_its_peak(shape: str) -> None:
    for users in (1, 7, 500):
        counts = [at(shape, t / 2, users) for t in range(210)]
        assert counts[-1] is None
        assert 1 <= min(c for c in counts if c is not None) <= max(c for c in counts if c is not None) == users


def test_a_crowd_comes_at_once_and_others_at_the_spawn_rate() -> None:
    assert shapes.users_at("flash_sale", 50, users=150, spawn_rate=5, duration_s=100) == (150, 150.0)
    assert shapes.users_at("steady", 50, users=150, spawn_rate=5, duration_s=100) == (150, 5)


# --- the subprocess

GOOD = """
import json, os, signal, sys, time
assert json.loads(os.environ["LOAD_SPEC"])["port"] == 8443
out = open(os.environ["LOAD_RECORDS"], "a", buffering=1)
def say(ok=True):
    extra = {} if ok else {"error": "HTTP 500"}
    line = {"wall_s": time.time(), "name": "home", "ok": ok, "status": 200 if ok else 500, "ms": 1.0, **extra}
    out.write(json.dumps(line) + "\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
"""
SHOPPING = GOOD + "for _ in range(3): say()\nsay(False)\nwhile True: time.sleep(0.01)"
DYING = GOOD + "for _ in range(3): say()\ntime.sleep(0.1)\nout.write('{\"wall_s\": 1')\nsys.exit('out of memory')"
FINISHED = GOOD + "for _ in range(3): say()\ntime.sleep(0.1)"
BROKEN = "import sys; sys.exit('no such CA file')"
FAILING = GOOD + "say(False)\nwhile True: time.sleep(0.01)"
DEAF = GOOD + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nfor _ in range(3): say()\nwhile True: time.sleep(0.01)"


class Stage:
    """Runs a script instead of Locust and keeps what came of it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self._monkeypatch = path, monkeypatch
        self.history = HistoryWriter(path / "history.jsonl", scenario="s", run="r")

    def run(self, script: str, *, first: Budget = QUICK) -> Any:
        self._monkeypatch.setattr(load, "_command", lambda: [sys.executable, "-c", script])
        return load_running(SPEC, history=self.history, out_dir=self.path / "load", first=first)

    def read(self) -> History:
        self.history.close()
        return read_history(self.history.path)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def end_of(history: History) -> dict[str, Any]:
    (end,) = history.of("load", "end")
    return end.data


def test_requests_go_into_the_history(stage: Stage) -> None:
    with stage.run(SHOPPING) as running:
        assert running.alive
        began_s = stage.history.now_s()
    history = stage.read()
    (start,) = history.of("load", "start")
    assert (start.data["users"], start.data["shape"]) == (20, "steady")
    requests = list(history.of("load", "request"))
    assert [r.data["ok"] for r in requests] == [True, True, True, False]
    assert requests[-1].data == {"name": "home", "ok": False, "status": 500, "ms": 1.0, "error": "HTTP 500"}
    assert all(start.t_s <= r.t_s <= began_s + 0.1 for r in requests)
    assert end_of(history) == {"exit_code": 0, "requests": 4, "failures": 1, "reason": "stopped"}


def test_a_load_that_dies_says_so_and_when(stage: Stage) -> None:
    with stage.run(DYING) as running:
        running._process.wait()
        died_s = stage.history.now_s()
        stage.history._clock.sleep(0.3)
    history = stage.read()
    end = end_of(history)
    assert (end["reason"], end["exit_code"], end["requests"]) == ("died", 1, 3)
    assert "out of memory" in end["error"]
    (record,) = history.of("load", "end")
    assert record.t_s < died_s + 0.2


def test_a_load_may_finish_by_itself(stage: Stage) -> None:
    with stage.run(FINISHED) as running:
        running._process.wait()
    assert end_of(stage.read())["reason"] == "time is up"


def test_a_load_that_never_begins_is_an_error(stage: Stage) -> None:
    with pytest.raises(FatalState, match="no such CA file"), stage.run(BROKEN):
        pytest.fail("the body must not run")
    assert end_of(stage.read())["reason"] == "died"


def test_a_load_without_a_good_request_is_an_error_and_is_stopped(stage: Stage) -> None:
    with pytest.raises(WaitTimeout, match="HTTP 500"), stage.run(FAILING, first=Budget(0.5, every_s=0.01)):
        pytest.fail("the body must not run")
    assert end_of(stage.read())["reason"] == "stopped"


def test_a_deaf_load_is_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "STOP_S", 0.1)
    with stage.run(DEAF) as running:
        pass
    assert not running.alive
    assert end_of(stage.read())["exit_code"] == -9


def test_the_bodys_error_wins_and_the_load_is_stopped(stage: Stage) -> None:
    with pytest.raises(ZeroDivisionError), stage.run(SHOPPING) as running:
        raise ZeroDivisionError
    assert not running.alive
    assert end_of(stage.read())["requests"] == 4


def test_a_cut_off_record_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"ok": true}\n{"ok": fal')
    assert list(read_records(path)) == [{"ok": True}]


def test_the_tally_goes_on_where_it_stopped_also_in_the_middle_of_a_record(stage: Stage) -> None:
    with stage.run(SHOPPING) as running:
        wait_for("all four requests", running.tally, lambda t: t.requests == 4, QUICK)
        with running.records.open("a") as more:
            more.write('{"ok": fal')
        assert running.tally() == load.Tally(4, 1)
        with running.records.open("a") as more:
            more.write('se, "wall_s": 0}\n')
        assert running.tally() == running.tally() == load.Tally(5, 2)
    stage.history.close()


# --- Locust itself, in a process of its own: importing it would patch this one

LOOK = """
import json, socket
import gevent.socket
from loadtests import shopper
answer = {"edge": gevent.socket.getaddrinfo("shop.example.test", 8443)[0][4][0]}
try:
    gevent.socket.getaddrinfo("elsewhere.example.com", 443)
except socket.gaierror as err:
    answer["elsewhere"] = str(err)
weights = [task.__name__ for task in shopper.Shopper.tasks]
answer["tasks"] = {name: weights.count(name) for name in sorted(set(weights))}
answer["verifies"] = [shopper.TLS.check_hostname, int(shopper.TLS.verify_mode), shopper.Shopper.insecure]
print(json.dumps(answer))
"""


def test_shoppers_know_the_edge_and_nothing_else(tmp_path: Path) -> None:
    import trustme

    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    spec = LoadSpec(port=8443, host="shop.example.test", ca_path=ca)
    env = {**os.environ, "LOAD_SPEC": spec.to_json(), "LOAD_RECORDS": str(tmp_path / "r"), "PYTHONPATH": str(load.ROOT)}
    done = subprocess.run([sys.executable, "-c", LOOK], env=env, capture_output=True, timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert answer["edge"] == "127.0.0.1"
    assert "load goes to shop.example.test only" in answer["elsewhere"]
    assert answer["tasks"] == {"add_to_cart": 2, "browse": 7, "check_out": 1}
    assert answer["verifies"] == [True, 2, False]


@pytest.fixture
def background() -> Iterator[None]:
    """As a shell starts a job with `&`: SIGINT is ignored, and processes that we start inherit that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("background")
def test_locust_ends_in_order_when_asked_even_in_the_background(tmp_path: Path) -> None:
    """Nobody answers on that port: the shoppers' failures are recorded, and the end is no death."""
    import trustme

    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    history = HistoryWriter(tmp_path / "history.jsonl", scenario="s", run="r")
    running = load._start(LoadSpec(port=1, host="shop.example.test", ca_path=ca, users=2), tmp_path, history)
    try:
        wait_for("the first failures", running.tally, lambda t: t.failures > 0, Budget(30, every_s=0.1))
    finally:
        code = running.stop()
        history.close()
    assert code == 0, running.log_tail()
