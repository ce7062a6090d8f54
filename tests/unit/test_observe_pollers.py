"""The recorders that poll: alerts at three layers, users, logs; and the recording round them."""

import contextlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from observe_fakes import FakeServer, Notebook, serving

from harness._clock import CLOCK, utc_text
from harness._errors import HarnessError
from harness._wait import Budget, wait_for
from harness.history import HistoryWriter
from harness.observe.logs import LogRecorder
from harness.observe.metrics import Metric, MetricsRecorder
from harness.observe.probe import Probe, ProbeSpec
from harness.observe.prometheus import AlertmanagerRecorder, PrometheusRecorder
from harness.observe.receiver import ReceiverRecorder
from harness.observe.recorder import Poller, Recorder, recording
from harness.platform.receiver import Receiver
from harness.stack.rules import JOBS

SOON = Budget(4, every_s=0.01)


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    with contextlib.closing(Notebook(tmp_path)) as book:
        yield book


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


# --- the recording itself ---


class Broken(Recorder):
    def record(self, history: HistoryWriter) -> None:
        raise KeyError("a bug")


class Stubborn(Recorder):
    def __init__(self) -> None:
        super().__init__("stubborn")
        self.let_go = threading.Event()

    def record(self, history: HistoryWriter) -> None:
        self.ready.set()
        self.let_go.wait(5)


def test_a_bug_in_a_recorder_is_written_down_and_raised_at_the_end(notebook: Notebook) -> None:
    with pytest.raises(HarnessError, match="broken: KeyError"), recording(notebook.history, [Broken("broken")]):
        pass
    assert "recorder broken: KeyError: 'a bug'" in notebook.facts("story", "error")[0]["text"]


def test_a_bug_in_a_recorder_does_not_hide_the_storys_own_error(notebook: Notebook) -> None:
    with pytest.raises(ZeroDivisionError), recording(notebook.history, [Broken("broken")]):
        raise ZeroDivisionError


def test_the_recorders_stop_when_the_story_fails(notebook: Notebook) -> None:
    recorder = PrometheusRecorder("http://127.0.0.1:9")
    with pytest.raises(ZeroDivisionError), recording(notebook.history, [recorder]):
        raise ZeroDivisionError
    assert recorder.join(0)


def test_one_that_does_not_stop_is_named(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.observe.recorder.STOP_S", 0.02)
    stubborn = Stubborn()
    with recording(notebook.history, [stubborn]):
        pass
    stubborn.let_go.set()
    assert stubborn.join(1)
    assert "recorder stubborn: did not stop" in notebook.facts("story", "error")[0]["text"]


def test_a_slow_look_delays_the_next_and_does_not_pile_up(notebook: Notebook) -> None:
    class Slow(Poller):
        looks = 0

        def look(self, history: HistoryWriter) -> None:
            self.looks += 1
            self.stopping.wait(0.1)

    slow = Slow("slow", every_s=0.01)
    with recording(notebook.history, [slow]):
        CLOCK.sleep(0.25)
    assert slow.looks <= 4


# --- Prometheus ---


class FakePrometheus:
    """Rules, alerts and scrape jobs; evaluated when the test says so."""

    def __init__(self, server: FakeServer) -> None:
        self.rule: dict[str, Any] = {"name": "CartServiceDown", "duration": 10, "labels": {}, "alerts": []}
        self.jobs = dict.fromkeys(JOBS, 1)
        self.evaluate()
        server.answers["/-/ready"] = b"ready"
        server.answers["/api/v1/rules"] = lambda query: {"data": {"groups": [{"rules": [self.rule]}]}}
        server.answers["/api/v1/query"] = self.query

    def query(self, query: dict[str, str]) -> Any:
        if query["query"] == "time()":
            return {"data": {"result": [0, str(CLOCK.wall())]}}
        found = [{"metric": {"job": job}, "value": [0, str(up)]} for job, up in self.jobs.items()]
        return {"data": {"result": found}}

    def evaluate(self, *states: str) -> float:
        now_s = CLOCK.wall()
        self.rule["lastEvaluation"] = utc_text(now_s)
        old = {a["state"]: a["activeAt"] for a in self.rule["alerts"]}
        active = next(iter(old.values()), utc_text(now_s))
        labels = {"alertname": "CartServiceDown", "namespace": "boutique-a"}
        self.rule["alerts"] = [{"labels": labels, "state": s, "activeAt": active} for s in states]
        return now_s


@pytest.fixture
def prometheus(server: FakeServer) -> FakePrometheus:
    return FakePrometheus(server)


def test_an_alert_goes_through_its_states_each_timed_by_its_evaluation(
    server: FakeServer, prometheus: FakePrometheus, notebook: Notebook
) -> None:
    recorder = PrometheusRecorder(server.url)
    recorder.look(notebook.history)
    evaluated = []
    for states in (("pending",), ("firing",), ()):
        evaluated.append(prometheus.evaluate(*states))
        CLOCK.sleep(0.05)
        recorder.look(notebook.history)
    recorder.close()
    records = notebook.records("prom", "alert")
    assert [r.data["state"] for r in records] == ["pending", "firing", "inactive"]
    assert records[0].data["labels"] == {"namespace": "boutique-a"}
    for record, wall_s in zip(records, evaluated, strict=True):
        assert record.wall_s == pytest.approx(wall_s, abs=record.err_s)


def test_a_change_between_distant_polls_says_how_unsure_it_is(
    server: FakeServer, prometheus: FakePrometheus, notebook: Notebook
) -> None:
    recorder = PrometheusRecorder(server.url)
    recorder.look(notebook.history)
    prometheus.evaluate("firing")
    prometheus.rule["lastEvaluation"] = utc_text(CLOCK.wall() - 60)  # no evaluation that could have done it
    CLOCK.sleep(0.1)
    recorder.look(notebook.history)
    recorder.close()
    assert notebook.records("prom", "alert")[0].err_s >= 0.05


def test_rules_are_written_at_the_start_and_when_they_change(
    server: FakeServer, prometheus: FakePrometheus, notebook: Notebook
) -> None:
    recorder = PrometheusRecorder(server.url)
    recorder.look(notebook.history)
    recorder.look(notebook.history)
    prometheus.rule["name"] = "Renamed"
    recorder.look(notebook.history)
    recorder.close()
    assert [f["rules"][0]["name"] for f in notebook.facts("prom", "rules")] == ["CartServiceDown", "Renamed"]


@pytest.mark.parametrize("how", ["zero", "gone"])
def test_a_scrape_job_that_is_down_or_gone_is_named(
    server: FakeServer, prometheus: FakePrometheus, notebook: Notebook, how: str
) -> None:
    if how == "zero":
        prometheus.jobs["kube-state-metrics"] = 0
    else:
        del prometheus.jobs["kube-state-metrics"]
    recorder = PrometheusRecorder(server.url)
    recorder.look(notebook.history)
    recorder.close()
    assert notebook.facts("prom", "poll")[0]["down"] == ["kube-state-metrics"]


@pytest.mark.parametrize("answer", [b"<html>", {"data": None}, {"status": "error"}])
def test_a_prometheus_that_answers_nonsense_is_not_seen(
    server: FakeServer, prometheus: FakePrometheus, notebook: Notebook, answer: Any
) -> None:
    server.answers["/api/v1/rules"] = answer
    recorder = PrometheusRecorder(server.url)
    recorder.look(notebook.history)
    recorder.close()
    assert notebook.facts("prom", "poll")[0]["ok"] is False
    assert notebook.records("prom", "alert") == []


def test_alertmanager_that_is_not_ready_is_not_seen(server: FakeServer, notebook: Notebook) -> None:
    server.answers["/-/ready"], server.status["/-/ready"] = b"no", 503
    recorder = AlertmanagerRecorder(server.url)
    recorder.look(notebook.history)
    server.status.clear()
    recorder.look(notebook.history)
    recorder.close()
    assert [f["ok"] for f in notebook.facts("alertmanager", "poll")] == [False, True]


# --- the receiver ---


class FakeReceiver:
    """Its clock is 100 s ahead of ours."""

    AHEAD_S = 100.0

    def __init__(self, server: FakeServer) -> None:
        self.alerts: list[dict[str, Any]] = []
        server.answers["/time"] = lambda query: {"now_ns": self.now_ns()}
        server.answers["/notifications"] = self.notifications

    def now_ns(self) -> int:
        return int((CLOCK.wall() + self.AHEAD_S) * 1e9)

    def arrive(self, name: str, status: str) -> None:
        labels = {"alertname": name, "namespace": "boutique-a"}
        seq = len(self.alerts) + 1
        self.alerts.append({"seq": seq, "arrived_ns": self.now_ns(), "status": status, "labels": labels})

    def notifications(self, query: dict[str, str]) -> Any:
        after = int(query["after"])
        if query.get("wait", "0") != "0":
            CLOCK.sleep(0.02)
        last = self.alerts[-1]["seq"] if self.alerts else 0
        return {"last": last, "alerts": [a for a in self.alerts if a["seq"] > after]}


def test_deliveries_are_timed_by_the_receivers_clock_brought_to_ours(server: FakeServer, notebook: Notebook) -> None:
    fake = FakeReceiver(server)
    fake.arrive("Old", "firing")
    with recording(notebook.history, [ReceiverRecorder(Receiver(server.url))]):
        before_s = CLOCK.wall()
        fake.arrive("CartServiceDown", "firing")
        wait_for("delivery", lambda: notebook.records("receiver", "delivered"), bool, SOON)
    (record,) = notebook.records("receiver", "delivered")
    assert record.data["name"] == "CartServiceDown"
    assert record.data["labels"] == {"namespace": "boutique-a"}
    assert record.wall_s == pytest.approx(before_s, abs=0.05 + record.err_s)


def test_a_receiver_that_lost_its_memory_is_read_from_the_start(server: FakeServer, notebook: Notebook) -> None:
    fake = FakeReceiver(server)
    for _ in range(3):
        fake.arrive("Old", "firing")
    with recording(notebook.history, [ReceiverRecorder(Receiver(server.url))]):
        fake.alerts.clear()
        polls = len(notebook.records("receiver", "poll"))
        wait_for("a poll", lambda: len(notebook.records("receiver", "poll")), lambda n: n > polls + 1, SOON)
        fake.arrive("New", "firing")
        wait_for("delivery", lambda: notebook.records("receiver", "delivered"), bool, SOON)
    assert [f["name"] for f in notebook.facts("receiver", "delivered")] == ["New"]


def test_a_receiver_that_is_down_is_not_seen(server: FakeServer, notebook: Notebook) -> None:
    server.status["/time"] = 500
    with recording(notebook.history, [ReceiverRecorder(Receiver(server.url))], ready_s=0.05) as running:
        assert running.blind() == ("receiver",)
    assert notebook.facts("receiver", "poll")[0]["ok"] is False


# --- the probe ---


@contextlib.contextmanager
def shop(folder: Path, host: str) -> Iterator[tuple[ProbeSpec, dict[str, Any]]]:
    """A home page behind TLS."""
    ca, behaviour = trustme.CA(), {"status": 200, "body": b"<p>release:v3</p>", "wait_s": 0.0}
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host).configure_cert(tls)

    class Page(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            CLOCK.sleep(behaviour["wait_s"])
            self.send_response(behaviour["status"])
            self.send_header("Content-Length", str(len(behaviour["body"])))
            self.end_headers()
            self.wfile.write(behaviour["body"])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.daemon_threads, server.block_on_close = True, False
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield ProbeSpec(server.server_address[1], "shop.test", folder / "ca.pem"), behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def probe_until(notebook: Notebook, spec: ProbeSpec, wanted: int) -> list[dict[str, Any]]:
    with recording(notebook.history, [Probe(spec)]):
        wait_for("requests", lambda: len(notebook.records("probe", "request")), lambda n: n >= wanted, SOON)
    return notebook.facts("probe", "request")


def test_users_see_the_release_and_the_requests_keep_their_beat(notebook: Notebook, tmp_path: Path) -> None:
    with shop(tmp_path, "shop.test") as (spec, _):
        facts = probe_until(notebook, spec, 5)
    assert all(f["ok"] and f["status"] == 200 and f["version"] == "v3" for f in facts)
    times = [r.t_s for r in notebook.records("probe", "request")]
    assert (times[4] - times[0]) == pytest.approx(0.4, abs=0.2)


@pytest.mark.parametrize(("change", "said"), [({"status": 500}, "status 500"), ({"status": 302}, "status 302")])
def test_what_is_not_a_good_page_is_an_error(
    notebook: Notebook, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with shop(tmp_path, "shop.test") as (spec, behaviour):
        behaviour.update(change)
        facts = probe_until(notebook, spec, 2)
    assert facts[0]["error"] == said


def test_a_certificate_for_another_host_is_an_error(notebook: Notebook, tmp_path: Path) -> None:
    with shop(tmp_path, "other.test") as (spec, _):
        facts = probe_until(notebook, spec, 1)
    assert not facts[0]["ok"]
    assert "CERTIFICATE_VERIFY_FAILED" in facts[0]["error"]


def test_a_slow_page_is_an_error_and_the_requests_go_on(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.observe.probe.TIMEOUT_S", 0.05)
    with shop(tmp_path, "shop.test") as (spec, behaviour):
        behaviour["wait_s"] = 0.2
        facts = probe_until(notebook, spec, 4)
    assert not any(f["ok"] for f in facts)
    assert "Timeout" in facts[0]["error"]


# --- logs ---


def test_lines_of_the_blast_radius_are_read_once_at_the_end(server: FakeServer, notebook: Notebook) -> None:
    stamp = str(int(CLOCK.wall() * 1e9))
    stream = {"stream": {"app": "cartservice", "pod": "cart-1"}, "values": [[stamp, "connection refused"]]}
    server.answers["/ready"] = b"ready"
    server.answers["/loki/api/v1/query_range"] = {"data": {"result": [stream]}}
    with recording(notebook.history, [LogRecorder(server.url, "boutique-a", ["cartservice"])]):
        pass
    (line,) = notebook.facts("log", "line")
    assert (line["app"], line["pod"], line["text"]) == ("cartservice", "cart-1", "connection refused")
    assert notebook.facts("log", "poll") == [{"ok": True}]


def test_a_loki_that_is_down_is_not_seen(server: FakeServer, notebook: Notebook) -> None:
    server.status["/ready"] = server.status["/loki/api/v1/query_range"] = 503
    with recording(notebook.history, [LogRecorder(server.url, "boutique-a")]):
        pass
    assert [f["ok"] for f in notebook.facts("log", "poll")] == [False, False]


# --- metrics ---


def test_metrics_are_read_for_the_window_and_only_where_their_range_lies_in_it(
    server: FakeServer, notebook: Notebook
) -> None:
    asked: list[dict[str, str]] = []

    def answer(query: dict[str, str]) -> Any:
        asked.append(query)
        values = [[notebook.history.start_wall_s + 0.5, "12.5"], [notebook.history.start_wall_s + 1, "NaN"]]
        return {"data": {"result": [{"metric": {"pod": "cart-1"}, "values": values}]}}

    server.answers["/api/v1/query_range"] = answer
    both = [Metric("memory", 'm{{namespace="{namespace}"}}', "bytes"), Metric("cpu", "rate(c[60s])", "cores", 60.0)]
    with recording(notebook.history, [MetricsRecorder(server.url, "boutique-a", both)]):
        CLOCK.sleep(0.05)
    assert [q["query"] for q in asked] == ['m{namespace="boutique-a"}']
    (series,) = notebook.facts("metrics", "series")
    assert (series["labels"], series["points"]) == ({"pod": "cart-1"}, [[0.5, 12.5]])
    memory, cpu = notebook.facts("metrics", "window")
    assert (memory["ok"], memory["series"]) == (True, 1)
    assert (cpu["ok"], cpu["error"]) == (False, "a window of 0 s is shorter than the query's range")


def test_a_prometheus_that_is_down_at_the_end_has_no_metrics(server: FakeServer, notebook: Notebook) -> None:
    server.status["/api/v1/query_range"] = 503
    with recording(notebook.history, [MetricsRecorder(server.url, "boutique-a", [Metric("memory", "m", "bytes")])]):
        CLOCK.sleep(0.05)
    assert [f["ok"] for f in notebook.facts("metrics", "window")] == [False]
