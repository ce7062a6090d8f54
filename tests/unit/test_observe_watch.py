"""Watches: no change is lost, whatever happens to the stream."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from observe_fakes import CUT, END, FakeServer, Notebook, serving

from harness._clock import CLOCK
from harness._wait import Budget, wait_for
from harness.kube import Manifest
from harness.observe import watch as watch_module
from harness.observe._http import Endpoint
from harness.observe.recorder import recording
from harness.observe.watch import SEEN_WITHIN_S, Delay, Heartbeat, Watch

PODS = "/api/v1/namespaces/shop/pods"
SOON = Budget(3, every_s=0.01)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    with contextlib.closing(Notebook(tmp_path)) as book:
        yield book


def pod(name: str, version: int) -> Manifest:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def listing(version: int, *pods: Manifest) -> Manifest:
    return {"kind": "PodList", "metadata": {"resourceVersion": str(version)}, "items": list(pods)}


def event(kind: str, item: Manifest) -> Manifest:
    return {"type": kind, "object": item}


class Told:
    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def __call__(self, change: str, item: Manifest) -> None:
        self.changes.append((change, item["metadata"]["name"]))

    def wait(self, *expected: tuple[str, str]) -> None:
        wait_for("changes", lambda: list(self.changes), lambda seen: seen == list(expected), SOON)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        fake.answers[PODS] = listing(5, pod("a", 3))
        fake.streams[PODS] = Queue()
        yield fake


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "RETRY_S", 0.01)


def watching(server: FakeServer, told: Told, **options: Any) -> Watch:
    return Watch(Endpoint(server.url, timeout_s=1), PODS, "pods", told, **options)


def test_it_tells_what_is_there_then_every_change(server: FakeServer, notebook: Notebook) -> None:
    told = Told()
    with recording(notebook.history, [watching(server, told)]):
        told.wait(("added", "a"))
        server.streams[PODS].put(event("ADDED", pod("b", 6)))
        server.streams[PODS].put(event("MODIFIED", pod("b", 7)))
        server.streams[PODS].put(event("DELETED", pod("a", 8)))
        told.wait(("added", "a"), ("added", "b"), ("modified", "b"), ("deleted", "a"))
    assert notebook.facts("k8s", "stream") == [{"resource": "pods", "state": "open"}]


def test_what_is_old_can_be_left_untold(server: FakeServer, notebook: Notebook) -> None:
    told = Told()
    with recording(notebook.history, [watching(server, told, skip_old=True)]):
        server.streams[PODS].put(event("ADDED", pod("b", 6)))
        told.wait(("added", "b"))


def test_a_stream_that_the_server_ends_goes_on_from_the_last_version(server: FakeServer, notebook: Notebook) -> None:
    told = Told()
    with recording(notebook.history, [watching(server, told)]):
        server.streams[PODS].put(event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}))
        server.streams[PODS].put(END)
        server.streams[PODS].put(event("ADDED", pod("b", 10)))
        told.wait(("added", "a"), ("added", "b"))
    assert "resourceVersion=9" in server.asked[-1]
    assert [f["state"] for f in notebook.facts("k8s", "stream")] == ["open"]


def test_a_cut_stream_is_marked_and_resumed(server: FakeServer, notebook: Notebook) -> None:
    told = Told()
    with recording(notebook.history, [watching(server, told)]):
        server.streams[PODS].put(CUT)
        server.streams[PODS].put(event("ADDED", pod("b", 10)))
        told.wait(("added", "a"), ("added", "b"))
    states = [f["state"] for f in notebook.facts("k8s", "stream")]
    assert states == ["open", "closed", "resumed"]
    assert len([path for path in server.asked if "watch" not in path]) == 1


@pytest.mark.parametrize("how", ["event", "status"])
def test_a_version_that_is_too_old_makes_it_list_again_and_tell_the_difference(
    server: FakeServer, notebook: Notebook, how: str
) -> None:
    told = Told()
    with recording(notebook.history, [watching(server, told)]):
        told.wait(("added", "a"))
        server.answers[PODS] = listing(50, pod("b", 40), pod("c", 41))
        if how == "event":
            server.streams[PODS].put(event("ERROR", {"code": 410, "message": "too old"}))
        else:
            server.status[PODS] = 410
            server.streams[PODS].put(END)
            wait_for("the refusal", lambda: len(server.asked), lambda n: n > 2, SOON)
            del server.status[PODS]
        told.wait(("added", "a"), ("deleted", "a"), ("added", "b"), ("added", "c"))


def test_an_api_that_is_down_is_waited_for(server: FakeServer, notebook: Notebook) -> None:
    told = Told()
    server.status[PODS] = 503
    with recording(notebook.history, [watching(server, told)], ready_s=0.05) as running:
        assert running.blind() == ("watch-pods",)
        del server.status[PODS]
        told.wait(("added", "a"))


def test_it_stops_at_once_though_nothing_happens(server: FakeServer, notebook: Notebook) -> None:
    with recording(notebook.history, [watching(server, Told())]):
        start_s = CLOCK.monotonic()
    assert CLOCK.monotonic() - start_s < 0.5
    assert not [t for t in threading.enumerate() if t.name == "record-watch-pods"]


def test_the_heartbeat_says_whether_the_api_answers_and_the_watch_sees(server: FakeServer, notebook: Notebook) -> None:
    watch = watching(server, Told())
    heartbeat = Heartbeat("live", Endpoint(server.url, timeout_s=1), "/readyz", [watch])
    heartbeat.every_s = 0.01
    server.answers["/readyz"] = b"ok"
    with recording(notebook.history, [watch, heartbeat]):
        wait_for("good", lambda: notebook.facts("live", "poll"), lambda p: {"ok": True} in p, SOON)
        server.status["/readyz"] = 500
        wait_for("bad", lambda: notebook.facts("live", "poll"), lambda p: p[-1]["ok"] is False, SOON)
        # Two misses cut the watches: a dead machine closes no connection.
        wait_for("cut", lambda: notebook.facts("k8s", "stream"), lambda s: s[-1]["state"] != "open", SOON)


class StillClock:
    """A clock that is set by hand."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_busy_machine_widens_the_error_bound_until_it_is_quick_again() -> None:
    clock = StillClock()
    delay = Delay(clock)
    assert delay.err_s == SEEN_WITHIN_S
    delay.asked()
    clock.sleep(0.5)
    assert delay.err_s == 0.5  # the answer is owed
    delay.asked()
    clock.sleep(0.25)
    delay.answered()
    clock.sleep(1)
    for _ in range(2):
        delay.asked()
        delay.answered()
        assert delay.err_s == 0.75
    delay.asked()
    delay.answered()
    assert delay.err_s == SEEN_WITHIN_S


def test_the_heartbeat_measures_how_late_watches_may_be(notebook: Notebook) -> None:
    def slow(query: dict[str, str]) -> dict[str, str]:
        CLOCK.sleep(0.06)
        return {}

    with serving() as server:
        server.answers["/one"] = slow
        delay = Delay()
        beat = Heartbeat("live", Endpoint(server.url), "/one", [], delay)
        beat.look(notebook.history)
        beat.close()
    assert delay.err_s >= 0.06


def test_a_watch_of_a_dead_api_is_closed_since_the_last_answer(notebook: Notebook) -> None:
    with serving() as server:
        server.answers["/pods"] = {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []}
        server.answers["/one"] = {}
        server.streams["/pods"] = Queue()
        watch = Watch(Endpoint(server.url), "/pods", "pods", lambda change, item: None)
        watch.start(notebook.history)
        assert watch.ready.wait(3)
        beat = Heartbeat("k8s", Endpoint(server.url), "/one", [watch])
        beat.look(notebook.history)
        good_s = round(notebook.history.now_s(), 4)  # as a history rounds
        server.status["/one"] = 503
        CLOCK.sleep(0.1)
        beat.look(notebook.history)
        beat.look(notebook.history)
        wait_for(
            "the watch is closed",
            lambda: [r.t_s for r in notebook.records("k8s", "stream") if r.data["state"] == "closed"],
            lambda closed: len(closed) == 1 and closed[0] <= good_s,
            Budget(3, every_s=0.01),
        )
        watch.stop()
        beat.close()
        assert watch.join(3)
