"""The page: what the template needs, gathered and put into words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness._clock import utc_text
from harness.history import History
from harness.judge import Facts, Finding, Rung, ScenarioResult, Stat, Verdict, aggregate, merge
from harness.judge.figures import HEADLINES, MEANINGS, OUTAGE, RECOVER, TITLES
from harness.judge.verdict import secs
from harness.report import charts
from harness.report.gate import Decision, GateResult
from harness.report.lanes import Lanes, lanes
from harness.report.trend import Flake, Past

MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.UNKNOWN: "?"}
WORDS = {
    Verdict.PASS: "Everything that was promised was kept.",
    Verdict.FAIL: "A promise was broken, with evidence.",
    Verdict.UNKNOWN: "The evidence does not carry a verdict.",
}
MAX_EVENTS = 150


@dataclass(frozen=True)
class Card:
    """A headline figure as a card."""

    title: str
    meaning: str
    stat: Stat | None
    median: str
    rest: str


@dataclass(frozen=True)
class Row:
    """Something that happened, for the tables that say the charts in words."""

    t: str
    who: str
    what: str


@dataclass(frozen=True)
class Bar:
    """A rung of the ladder as a bar: shares of the scale in percent."""

    rung: Rung
    took: str
    share: float
    limit_share: float | None


@dataclass(frozen=True)
class View:
    """One scenario for the template."""

    anchor: str
    result: ScenarioResult
    title: str
    facts: Sequence[tuple[str, str]]
    chart: str
    alt: str
    moments: Sequence[Row]
    ladders: Sequence[tuple[str, Sequence[Bar]]]
    events: Sequence[Row]
    logs: Sequence[Row]


def render(
    results: Sequence[ScenarioResult],
    histories: Mapping[str, History],
    info: Mapping[str, Any],
    gate: GateResult | None,
    trends: Mapping[str, Sequence[Past]],
    ledger: Sequence[Flake],
) -> str:
    """The whole page, one self-contained file."""
    import jinja2

    empty: dict[str, Any] = {
        "skipped": [],
        "broken": [],
        "absent": [],
        "calibration": [],
        "calibrated": {},
        "versions": {},
        "dashboards": {},
    }
    info = {**empty, **info}
    folder = Path(__file__).parent / "templates"
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    jinja.trim_blocks = jinja.lstrip_blocks = True
    jinja.filters |= {"secs": secs, "measure": measure}
    stats = aggregate(f for r in results for f in r.figures)
    ordered = sorted(results, key=lambda r: (-r.verdict, r.scenario))
    counts = {v: sum(r.verdict is v for r in results) for v in Verdict}
    from markupsafe import Markup

    page = jinja.get_template("report.html.j2").render(
        title=f"Resilience report {info.get('run', '')}",
        info=info,
        when=utc_text(float(info["started_wall_s"]))[:16].replace("T", " ") + " UTC"
        if info.get("started_wall_s")
        else "",
        took=secs(float(info.get("ended_wall_s") or 0) - float(info["started_wall_s"]))
        if info.get("ended_wall_s")
        else "",
        verdict=merge(r.verdict for r in results),
        words=WORDS,
        marks=MARKS,
        counts=counts,
        gate=gate,
        Decision=Decision,
        Verdict=Verdict,
        cards=[_card(name, stats.get(name)) for name in HEADLINES],
        small=[_card(name, stats.get(name)) for name in (OUTAGE, RECOVER)],
        views=[_view(r, histories.get(r.scenario)) for r in ordered],
        trends=_trends(trends, stats),
        ledger=ledger,
        # The parts below are ours or escaped for their place; autoescape would break them.
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((folder / "report.js").read_text(encoding="utf-8")),  # noqa: S704
        plotly=Markup(charts.plotly_js()),  # noqa: S704
        as_data=lambda text: Markup(text.replace("<", "\\u003c")),  # noqa: S704
    )
    return page


def measure(value: float | None, unit: str) -> str:
    """A measured value or budget with its unit."""
    if value is None:
        return "–"
    if unit == "ratio":
        return f"{value:.2%}"
    return secs(value) if unit == "s" else f"{value:g}"


def _card(name: str, stat: Stat | None) -> Card:
    if stat is None:
        return Card(TITLES[name], MEANINGS[name], None, "not measured", "no scenario of this run measures it")
    rest = f"n {stat.n} · p95 {secs(stat.p95_s)} · worst {secs(stat.worst_s)} · error ± {secs(stat.err_s)}"
    return Card(TITLES[name], MEANINGS[name], stat, secs(stat.median_s), rest)


def _view(result: ScenarioResult, history: History | None) -> View:
    about = result.about
    title = str(about.get("title") or result.scenario).replace("`", "")
    shown = [
        ("overlay", about.get("overlay")),
        ("profile", about.get("profile")),
        ("namespace", about.get("namespace")),
        ("fault", ", ".join(about.get("faults") or ())),
        ("mechanism", ", ".join(about.get("mechanisms") or ())),
        ("images", about.get("image_path")),
        ("recorded", secs(result.duration_s)),
        ("runner", _cost(result)),
    ]
    chart, alt, moments, events, logs = "", "", [], [], []
    if history is not None:
        facts = Facts(history)
        drawn = lanes(facts)
        chart = json.dumps(charts.timeline(facts, drawn), separators=(",", ":"))
        moments, events, logs = _moments(facts, drawn), _events(facts), _logs(facts)
        alt = _alt(result, drawn)
    return View(
        anchor="s-" + "".join(c if c.isalnum() else "-" for c in result.scenario),
        result=result,
        title=title,
        facts=[(k, str(v)) for k, v in shown if v],
        chart=chart,
        alt=alt,
        moments=moments,
        ladders=[(f.clause, _bars(f)) for f in result.findings if f.rungs],
        events=events,
        logs=logs,
    )


def _bars(finding: Finding) -> list[Bar]:
    values = [r.took_s for r in finding.rungs if r.took_s is not None]
    scale = max([*values, 1e-9]) * 1.15
    found = []
    for r in finding.rungs:
        took = f"{secs(r.took_s)} ± {secs(r.err_s)}" if r.took_s is not None else r.note
        share = round(100 * (r.took_s or 0) / scale, 2)
        within = r.budget_s is not None and r.budget_s <= scale
        found.append(Bar(r, took, share, round(100 * (r.budget_s or 0) / scale, 2) if within else None))
    return found


def _alt(result: ScenarioResult, drawn: Lanes) -> str:
    bad = [s for s in drawn.segments if s.kind == "bad" and s.lane != "Fault"]
    parts = [f"{s.lane} {s.text} for {secs(s.end_s - s.start_s)}" for s in bad[:6]]
    lanes_text = f"Timeline with {len(drawn.names)} lanes: {', '.join(drawn.names)}."
    return f"{lanes_text} {'; '.join(parts) or 'Nothing was down'}. Verdict {result.verdict}: {result.why}."


def _moments(facts: Facts, drawn: Lanes) -> list[Row]:
    """The timeline in words: every change on every lane, in order."""
    zero = charts.zero_s(facts)
    found = [(m.t_s, m.lane, m.text) for m in drawn.moments]
    found += [(s.start_s, s.lane, s.text) for s in drawn.segments if s.start_s > 1.5 or s.lane == "Story"]
    return [Row(f"{t - zero:+.2f}", who, what) for t, who, what in sorted(found)[: 2 * MAX_EVENTS]]


def _events(facts: Facts) -> list[Row]:
    zero = charts.zero_s(facts)
    found = [
        Row(
            f"{r.t_s - zero:+.1f}",
            f"{r.data.get('kind')} {r.data.get('name')}",
            f"{r.data.get('reason')}: {r.data.get('message')}",
        )
        for r in facts.history.of("k8s", "event")
        if r.t_s >= 0
    ]
    return found[:MAX_EVENTS]


def _logs(facts: Facts) -> list[Row]:
    """The lines from just before the disturbance on; ordinary traffic before it says nothing."""
    zero = charts.zero_s(facts)
    lines = [r for r in facts.history.of("log", "line") if r.t_s >= zero - 2]
    return [
        Row(f"{r.t_s - zero:+.1f}", str(r.data.get("pod")), str(r.data.get("text"))[:400]) for r in lines[:MAX_EVENTS]
    ]


def _trends(trends: Mapping[str, Sequence[Past]], stats: Mapping[str, Stat]) -> list[tuple[str, str, str]]:
    """(chart as JSON, text alternative, title) for each figure with earlier runs."""
    found = []
    for name, title in TITLES.items():
        runs, stat = trends.get(name) or (), stats.get(name)
        if not runs:
            continue
        now_s = stat.median_s if stat else None
        values = ", ".join(secs(p.median_s) for p in runs)
        text = f"{title}, median of the last {len(runs)} runs: {values}; this run: {secs(now_s) if now_s is not None else 'none'}"
        found.append((json.dumps(charts.trend(name, title, runs, now_s), separators=(",", ":")), text, title))
    return found


def _cost(result: ScenarioResult) -> str:
    """What the runner, its recorders and its probe needed."""
    cost = result.about.get("cost")
    if not cost:
        return ""
    return f"{cost['cpu_s']:.1f} s of processor, {cost['peak_memory_bytes'] / 2**20:.0f} MiB"
