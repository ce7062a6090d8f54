"""Grafana: dashboards as data, and what its answers mean."""

import json
from typing import Any

import pytest

from harness._errors import DeployError
from harness.history import Header, History, Record
from harness.judge.profiles import PROFILES
from harness.stack import grafana
from harness.stack.base import render
from harness.stack.grafana import Grafana, PanelCheck

BOARDS = {path.name: json.loads(path.read_text()) for path in sorted(grafana.DASHBOARDS.glob("*.json"))}


def test_it_renders_with_its_dashboards_and_leaves_nothing_open() -> None:
    manifests = render(
        "grafana",
        node="cp",
        namespace="monitoring",
        profile=PROFILES["fast"],
        image="example/grafana:1",
        node_port=30300,
        password="pa55",
        dashboards={name: json.dumps(board) for name, board in BOARDS.items()},
    )
    by_name = {(m["kind"], m["metadata"]["name"]): m for m in manifests}
    assert set(by_name["ConfigMap", "grafana-dashboards"]["data"]) == set(BOARDS)
    assert by_name["Secret", "grafana"]["stringData"]["password"] == "pa55"
    pod = by_name["Deployment", "grafana"]["spec"]["template"]["spec"]
    assert "pa55" not in json.dumps(pod)


def test_there_are_dashboards_for_the_platform_the_shop_and_gitops() -> None:
    assert {board["uid"] for board in BOARDS.values()} == {"rh-platform", "rh-boutique", "rh-gitops"}


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_a_dashboard_has_its_tag_shows_fault_windows_and_asks_known_datasources(board: dict[str, Any]) -> None:
    assert grafana.TAG in board["tags"]
    assert board["annotations"]["list"][0]["target"]["tags"] == [grafana.TAG]
    for panel in board["panels"]:
        assert panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] in {"prometheus", "loki"}
            assert target["expr"]


class FakeGrafana(Grafana):
    """Answers as told."""

    answer: Any = None
    asked: dict[str, Any] | None = None

    def get(self, path: str) -> Any:
        if path.startswith("/api/search"):
            return [{"uid": "b"}]
        targets = [{"refId": "A", "expr": 'up{namespace=~"$namespace"}', "datasource": {"uid": "prometheus"}}]
        return {"dashboard": {"title": "Board", "panels": [{"title": "Panel", "targets": targets}]}}

    def post(self, path: str, body: Any) -> Any:
        object.__setattr__(self, "asked", {"path": path, **body})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def fake(answer: Any) -> FakeGrafana:
    made = FakeGrafana("http://grafana.test", "x")
    object.__setattr__(made, "answer", answer)
    return made


def results(*columns: list[Any], error: str = "") -> dict[str, Any]:
    return {"results": {"A": {"error": error, "frames": [{"data": {"values": list(columns)}}]}}}


def test_a_panel_with_values_is_good_and_was_asked_for_every_boutique() -> None:
    server = fake(results([1, 2], [5.0, 6.0]))
    assert grafana.check_dashboards(server) == [PanelCheck("Board", "Panel", 2)]
    assert server.asked is not None
    assert server.asked["queries"][0]["expr"] == 'up{namespace=~"boutique.*"}'


@pytest.mark.parametrize(
    "answer",
    [
        results([], []),
        results(),
        results([1], [2.0], error="bad data"),
        {"results": {"A": {"frames": []}}},
        DeployError("refused"),
    ],
    ids=["no values", "no columns", "an error beside values", "no frames", "refused"],
)
def test_a_panel_without_values_or_with_an_error_is_not_good(answer: Any) -> None:
    (check,) = grafana.check_dashboards(fake(answer))
    assert not check.ok


def test_a_fault_window_is_written_with_its_ends_and_tags() -> None:
    server = fake({"id": 7})
    assert grafana.annotate(server, "cart killed", 10.0, 12.5, ["cart"]) == 7
    assert server.asked == {
        "path": "/api/annotations",
        "text": "cart killed",
        "time": 10000,
        "timeEnd": 12500,
        "tags": [grafana.TAG, "cart"],
    }


def test_fault_windows_of_a_history_end_when_the_fault_was_gone_or_with_the_history() -> None:
    def record(t_s: float, source: str, event: str, **data: str) -> Record:
        return Record(t_s, 1000 + t_s, source, event, data=data)

    records = (
        record(1, "fault", "injected", fault="pod-kill"),
        record(2, "fault", "proven", fault="pod-kill"),
        record(3, "fault", "injected", fault="loss"),
        record(4, "fault", "gone", fault="pod-kill"),
        record(9, "story", "closed"),
    )
    written: list[tuple[str, int, int]] = []

    class Writer(FakeGrafana):
        def post(self, path: str, body: Any) -> Any:
            written.append((body["text"], body["time"], body["timeEnd"]))
            return {"id": 1}

    history = History(Header("cart lost", "run", 1000.0), records)
    assert grafana.annotate_faults(Writer("http://grafana.test", "x"), history) == 2
    assert written == [("pod-kill (cart lost)", 1001000, 1004000), ("loss (cart lost)", 1003000, 1009000)]


def test_a_grafana_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(DeployError, match="cannot be reached"):
        Grafana("http://127.0.0.1:9", "x").get("/api/health")
