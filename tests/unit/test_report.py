"""The report: files, page, trend, re-judging, from synthetic histories."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import histories as h
import pytest
from click.testing import CliRunner

from harness._errors import ContractError, HarnessError, HistoryError
from harness.cli.gate import command as gate_command
from harness.cli.judge import command as judge_command
from harness.cli.report import command as report_command
from harness.judge import (
    PROFILES,
    AlertInfo,
    Context,
    Facts,
    Profile,
    ScenarioResult,
    Verdict,
    heals,
    judge,
    must_fire,
    must_not_fire,
    must_resolve,
    nothing_else_fires,
    outage_seen,
    recovers,
)
from harness.report import judge_run, latest_run, load_run, read_policy, write_report
from harness.report import trend as store
from harness.report.charts import timeline
from harness.report.lanes import lanes

ROOT = Path(__file__).parents[2]
CTX = Context(PROFILES["fast"], h.KNOWN)
LOUD = (must_fire("CartServiceDown"), must_resolve("CartServiceDown"), nothing_else_fires(), recovers("cartservice"))
QUIET = (must_not_fire("CartServiceDown"), outage_seen())
INFO = {
    "run": "r1",
    "started_wall_s": h.WALL_S,
    "ended_wall_s": h.WALL_S + 100,
    "profile": "fast",
    "provider": "kind",
    "absent": [{"name": "Grafana", "why": "not in the bundle"}],
    "skipped": [{"test": "test_latency", "why": "no <netem> here"}],
}


def results_in(run: Path) -> list[ScenarioResult]:
    """Three scenarios: one passed, one failed, one unknown; their histories are written to the run."""
    blind = h.changed(h.cart_killed_once(contract=QUIET), "prom", "poll", {"ok": False})
    failed = h.doctored(
        h.drift_healed([heals("Deployment", "cartservice", within_s=20)]),
        lambda r: None if (r.source, r.event) == ("live", "diff") and r.t_s > 21 else r,
    )
    found = []
    for history in (h.cart_kept_down(LOUD), blind, failed):
        h.write(history, run / "scenarios" / history.header.scenario / "history.jsonl")
        found.append(judge(history, None, CTX))
    assert [r.verdict for r in found] == [Verdict.PASS, Verdict.UNKNOWN, Verdict.FAIL]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "r1"
    write_report(path, results_in(path), INFO, policy=read_policy(ROOT / "gate.toml"))
    return path


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """What the page consists of, without its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(re.sub(r"<script>.*?</script>", "", page, flags=re.S))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> does not match"


def matches(schema: dict[str, Any], data: Any, root: dict[str, Any], at: str = "$") -> list[str]:
    """The little of JSON Schema that results-schema.json uses; returns what is wrong."""
    if "$ref" in schema:
        return matches(root["$defs"][schema["$ref"].rpartition("/")[2]], data, root, at)
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "number": (int, float),
        "integer": int,
        "null": type(None),
        "boolean": bool,
    }
    wanted = schema.get("type", [])
    names = [wanted] if isinstance(wanted, str) else wanted
    if names and not any(isinstance(data, kinds[n]) and (n == "boolean" or not isinstance(data, bool)) for n in names):
        return [f"{at}: {data!r} is not {names}"]
    wrong = (
        [f"{at}: {data!r} is not one of {schema['enum']}"] if "enum" in schema and data not in schema["enum"] else []
    )
    if isinstance(data, dict):
        wrong += [f"{at}: {k} is missing" for k in schema.get("required", ()) if k not in data]
        more = schema.get("additionalProperties", True)
        for key, value in data.items():
            part = schema.get("properties", {}).get(key, more)
            if part is False:
                wrong.append(f"{at}: {key} is not in the schema")
            elif isinstance(part, dict):
                wrong += matches(part, value, root, f"{at}.{key}")
    if isinstance(data, list) and "items" in schema:
        for n, value in enumerate(data):
            wrong += matches(schema["items"], value, root, f"{at}[{n}]")
    return wrong


def test_results_json_keeps_its_schema(run: Path) -> None:
    schema = json.loads((ROOT / "docs/reference/results-schema.json").read_text())
    data = json.loads((run / "results.json").read_text())
    assert matches(schema, data, schema) == []
    assert (data["verdict"], data["gate"]["decision"]) == ("FAIL", "DO_NOT_SHIP")
    assert matches(schema, {**data, "verdict": "GREEN"}, schema), "the schema must refuse something"


def test_junit_has_a_case_for_each_clause_and_says_why(run: Path) -> None:
    root = ET.parse(run / "junit.xml").getroot()  # noqa: S314 - our own file
    suites = {s.get("name"): s for s in root}
    results = load_run(run).results
    assert {r.scenario for r in results} | {"skipped"} == set(suites)
    for r in results:
        assert [c.get("name") for c in suites[r.scenario]] == [f.clause for f in r.findings]
    failure = suites["drift-scaled-to-zero"].find("testcase/failure")
    assert failure is not None
    assert "still differs from Git" in str(failure.get("message"))
    assert suites["cart-killed-stock"].find("testcase/error") is not None
    assert root.get("skipped") == "1"


def test_the_page_is_one_file_that_needs_no_network(run: Path, page: str) -> None:
    assert len(page.encode()) < 6_000_000
    outline = Outline(page)
    assert outline.open == []
    assert not [a for _, a in outline.tags if a.get("src") or (a.get("href") or "#")[0] != "#"]
    assert "@import" not in page.partition("</style>")[0]


def test_the_page_opens_with_verdict_gate_and_the_four_figures(page: str) -> None:
    head = page.partition('id="scenarios"')[0]
    order = [
        "FAIL</h1>",
        "Gate: Do not ship",
        "<h2>Deployment lead time",
        "<h2>Time to detect",
        "<h2>Rollback time",
        "<h2>Drift self-heal time",
    ]
    places = [head.find(text) for text in order]
    assert places == sorted(places)
    assert -1 not in places
    assert "23.0 s" in head
    assert "not measured" in head, "a figure without data says so"


def test_absent_parts_and_skips_are_stated_and_escaped(page: str) -> None:
    assert "Grafana</b>: not in the bundle" in page
    assert "no &lt;netem&gt; here" in page
    assert "This run has no calibration" in page


def test_every_chart_has_a_text_and_every_table_a_header(page: str) -> None:
    tags = Outline(page).tags
    charts = [a for _, a in tags if a.get("class") == "chart"]
    assert len(charts) == 3
    assert all("Timeline with" in str(a["aria-label"]) and "Verdict" in str(a["aria-label"]) for a in charts)
    assert sum(t == "h1" for t, _ in tags) == 1
    assert all(a.get("scope") for t, a in tags if t == "th")
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_text_from_the_cluster_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    history = h.changed(h.cart_kept_down(LOUD), "log", "line", {"text": evil})
    history = h.changed(history, "k8s", "pod", {"reason": evil}, uid="u-cart-2")
    h.write(history, tmp_path / "r" / "scenarios" / "x" / "history.jsonl")
    text = write_report(tmp_path / "r", [judge(history, None, CTX)]).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert Outline(text).open == []


def test_control_characters_of_logs_keep_the_junit_file_readable(tmp_path: Path) -> None:
    result = judge(h.cart_kept_down(LOUD), None, CTX)
    bad = replace(result, findings=(replace(result.findings[0], verdict=Verdict.FAIL, why="\x1b[31mred\x00 <&>"),))
    write_report(tmp_path / "r", [bad])
    failure = ET.parse(tmp_path / "r" / "junit.xml").getroot().find(".//failure")  # noqa: S314
    assert failure is not None
    assert failure.get("message") == "?[31mred? <&>"


def test_lanes_tell_the_whole_story() -> None:
    drawn = lanes(Facts(h.cart_kept_down()))
    assert drawn.names[:2] == ("Story", "Fault")
    assert {
        "Endpoints cartservice",
        "CartServiceDown",
        "on-call: CartServiceDown",
        "Argo CD says",
        "Live objects",
    } < set(drawn.names)
    states = [(s.start_s, s.text) for s in drawn.segments if s.lane == "CartServiceDown"]
    assert states == [(27, "pending"), (37, "firing")]
    outage = next(s for s in drawn.segments if s.lane == "Users" and s.kind == "bad")
    assert (outage.start_s, outage.end_s) == (pytest.approx(20.1), pytest.approx(63.4))
    blind = lanes(Facts(h.without(h.cart_kept_down(), "k8s", "stream")))
    assert "Blind sources" in blind.names


@pytest.mark.parametrize("make", [h.cart_kept_down, h.cart_killed_once, h.drift_healed, h.released_v2, h.rolled_back])
def test_plotly_accepts_every_timeline(make: Any) -> None:
    import plotly.graph_objects as go

    facts = Facts(make())
    drawn = lanes(facts)
    figure = go.Figure(timeline(facts, drawn))
    assert set(figure.layout.yaxis.categoryarray) == set(drawn.names)


def test_a_run_without_histories_still_gets_its_report(tmp_path: Path) -> None:
    info = {**INFO, "broken": [{"test": "test_x", "why": "the cluster did not come up"}]}
    text = write_report(tmp_path / "r", [], info, policy=read_policy(ROOT / "gate.toml")).read_text(encoding="utf-8")
    assert "UNKNOWN</h1>" in text
    assert "Gate: Cannot tell" in text
    assert "the cluster did not come up" in text


def test_judging_again_with_another_budget_changes_the_verdict(tmp_path: Path) -> None:
    h.write(h.cart_kept_down(LOUD), tmp_path / "r" / "scenarios" / "a" / "history.jsonl")
    assert [r.verdict for r in judge_run(tmp_path / "r")] == [Verdict.PASS]
    assert [r.verdict for r in judge_run(tmp_path / "r", budgets={'recovers("cartservice")': 2})] == [Verdict.FAIL]
    with pytest.raises(ContractError, match="no clause reads nonsense"):
        judge_run(tmp_path / "r", budgets={"nonsense": 2})
    slow = judge_run(tmp_path / "r", profile_name="stock")[0]
    assert slow.findings[0].budget == 1050


def test_commands_judge_report_and_gate(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cli = CliRunner()
    judged = cli.invoke(judge_command, [str(run), "--budget", 'recovers("cartservice")=50'])
    assert (judged.exit_code, "FAIL    drift-scaled-to-zero" in judged.output) == (1, True)
    bad = cli.invoke(judge_command, [str(run), "--budget", "recovers"])
    assert isinstance(bad.exception, HarnessError)
    reported = cli.invoke(report_command, [str(run)])
    assert (reported.exit_code, reported.output.strip()) == (0, str(run / "report.html"))
    gated = cli.invoke(gate_command, [str(run)])
    assert (gated.exit_code, "NO  drift-scaled-to-zero failed" in gated.output) == (1, True)


def test_a_run_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no such run"):
        load_run(tmp_path / "nothing")
    with pytest.raises(HistoryError, match="no judged scenario"):
        load_run(tmp_path)
    with pytest.raises(HistoryError, match="no scenario"):
        judge_run(tmp_path)
    with pytest.raises(HistoryError, match="no run found"):
        latest_run(tmp_path)
    file = h.write(h.cart_kept_down(LOUD), tmp_path / "r" / "scenarios" / "a" / "history.jsonl")
    file.write_text(file.read_text().replace('"schema": 1', '"schema": 99', 1))
    with pytest.raises(HistoryError, match="schema 99"):
        judge_run(tmp_path / "r")
    result = CliRunner().invoke(gate_command, [str(tmp_path / "nothing"), "--policy", str(ROOT / "gate.toml")])
    assert (result.exit_code, "Cannot tell" in result.output) == (2, True)


def test_the_store_keeps_runs_apart_by_profile_and_provider(tmp_path: Path) -> None:
    path, result = tmp_path / "history.sqlite", judge(h.cart_kept_down(LOUD), None, CTX)
    for n in range(4):
        store.remember(path, [result], {**INFO, "run": f"r{n}", "started_wall_s": n}, "PASS")
    store.remember(path, [result], {**INFO, "run": "r1", "started_wall_s": 1}, "PASS")  # judged again: no doubles
    store.remember(path, [result], {**INFO, "run": "other", "profile": "stock", "started_wall_s": 2}, "PASS")
    now = {**INFO, "run": "r9", "started_wall_s": 9}
    assert [p.run for p in store.past(path, now, 3)["time_to_detect"]] == ["r1", "r2", "r3"]
    assert store.past(tmp_path / "none.sqlite", now, 3) == {}
    assert store.flakes(path)[0].runs == 5
    path.write_bytes(b"this is no database at all, but long enough to be looked at" * 10)
    with pytest.raises(HistoryError, match="trend store"):
        store.flakes(path)


def test_wilson_interval() -> None:
    assert store.wilson(0, 0) == (0.0, 1.0)
    low, high = store.wilson(1, 10)
    assert (round(low, 3), round(high, 3)) == (0.018, 0.404)
    assert store.wilson(0, 20)[1] == pytest.approx(0.161, abs=0.001)


def test_an_alert_of_another_boutique_has_an_empty_lane_and_breaks_nothing() -> None:
    history = h.changed(
        h.cart_kept_down(), "prom", "alert", {"labels": {"namespace": "boutique-w9"}}, name="CartServiceDown"
    )
    history = h.without(history, "receiver", "delivered")
    assert not [n for n in lanes(Facts(history)).names if "CartServiceDown" in n]


def test_the_exit_code_reaches_the_shell(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate whose exit code is lost on the way lets everything ship."""
    from harness.cli import main

    monkeypatch.chdir(ROOT)
    for arguments, code in ((["gate", str(run)], 1), (["gate", "nothing"], 2), (["judge", str(run)], 1)):
        monkeypatch.setattr("sys.argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == code, arguments


def test_judging_again_keeps_the_recorded_for_of_each_rule(tmp_path: Path) -> None:
    timing = {
        "scrape_s": 5,
        "eval_s": 5,
        "for_s": 10,
        "group_wait_s": 5,
        "resolve_s": 5,
        "alert_for_s": {"CartServiceDown": 30},
    }
    history = h.changed(h.cart_kept_down(LOUD[:1]), "story", "start", {"timing": timing})
    h.write(history, tmp_path / "r" / "scenarios" / "a" / "history.jsonl")

    def known(profile: Profile) -> dict[str, AlertInfo]:
        return {"CartServiceDown": AlertInfo("cartservice", 3 * profile.for_of("CartServiceDown"))}

    again = [
        judge_run(tmp_path / "r", known_alerts=known, profile_name=p)[0].findings[0].budget for p in (None, "stock")
    ]
    assert again == [55, 2850]
