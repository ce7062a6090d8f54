"""Figures for Plotly, as plain data: plotly.js draws them in the page, Python never has to import Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from harness.judge.facts import Facts, Request
from harness.judge.users import percentile
from harness.report.lanes import Lanes, Segment
from harness.report.trend import Past

# Distinct in hue *and* in lightness, and legible on light and dark; patterns repeat the meaning without colour.
COLOURS = {"good": "#3a9d6e", "warn": "#e3a72f", "bad": "#d1495b", "idle": "#9aa5b8", "info": "#5b83c9"}
LABELS = {"good": "good", "warn": "degraded", "bad": "down / firing", "idle": "terminating / blind", "info": "phase"}
PATTERNS = {"good": "", "warn": "/", "bad": "x", "idle": ".", "info": ""}
LANE_PX = 30
BARS_PX, LETTER_PX = 900, 6.2  # how wide the lanes are on a laptop, and a letter in a bar
Json = dict[str, Any]


def plotly_js() -> str:
    """Plotly's script, from the installed package: the page needs no network."""
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def zero_s(facts: Facts) -> float:
    """The time that charts call 0: when the story's disturbance took effect."""
    return facts.disturbance.t_s if facts.disturbance else 0.0


def timeline(facts: Facts, drawn: Lanes) -> Json:
    """Swim lanes over latency over errors, one time axis, fault windows shaded."""
    zero = zero_s(facts)
    traces = [_bars(drawn, kind, zero) for kind in COLOURS if any(s.kind == kind for s in drawn.segments)]
    traces.append(_points(drawn, zero))
    span = [-zero, facts.end_s - zero]
    traces += _latency(facts.probe, zero, "probe", COLOURS["info"], span)
    if facts.load:
        traces += _latency(facts.load, zero, "shoppers", "#8e6bbf", span)
    traces.append(_errors(facts, zero))
    lanes_px, charts_px, gap_px = LANE_PX * max(len(drawn.names), 1), 230, 26
    total = lanes_px + charts_px + gap_px
    top, middle = 1 - lanes_px / total, charts_px / total
    axis = {"zeroline": False, "fixedrange": True, "automargin": False}
    layout = {
        "height": total + 70,
        "margin": {"l": 190, "r": 12, "t": 30, "b": 40},
        "barmode": "overlay",
        "bargap": 0.28,
        "hovermode": "closest",
        "dragmode": "zoom",
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
        "xaxis": {
            "range": span,
            "anchor": "y3",
            "zeroline": False,
            "title": {"text": "seconds since it took effect", "standoff": 6},
            "showspikes": True,
            "spikemode": "across",
            "spikethickness": 1,
            "spikedash": "dot",
            "spikecolor": "#888",
        },
        "yaxis": {
            **axis,
            "domain": [top, 1],
            "categoryorder": "array",
            "categoryarray": list(reversed(drawn.names)),
            "range": [-0.5, len(drawn.names) - 0.5],
            "showgrid": False,
        },
        "yaxis2": {**axis, "domain": [middle * 0.42, middle], "title": {"text": "p95, ms"}, "rangemode": "tozero"},
        "yaxis3": {**axis, "domain": [0, middle * 0.3], "title": {"text": "errors/s"}, "rangemode": "tozero"},
        "shapes": _shades(facts, zero),
    }
    return {"data": traces, "layout": layout}


def trend(name: str, title: str, runs: Sequence[Past], now_s: float | None) -> Json:
    """A figure over the last runs, this one last."""
    values = [p.median_s for p in runs] + ([now_s] if now_s is not None else [])
    texts = [p.run for p in runs] + (["this run"] if now_s is not None else [])
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(range(1, len(values) + 1)),
        "y": [round(v, 3) for v in values],
        "text": texts,
        "hovertemplate": "%{text}: %{y:.2f} s<extra></extra>",
        "line": {"color": COLOURS["info"], "width": 2},
        "marker": {"size": 8},
        "showlegend": False,
    }
    layout = {
        "height": 180,
        "title": {"text": title, "font": {"size": 13}},
        "margin": {"l": 44, "r": 10, "t": 34, "b": 28},
        "xaxis": {"fixedrange": True, "dtick": 1, "title": {"text": ""}},
        "yaxis": {"fixedrange": True, "rangemode": "tozero", "ticksuffix": " s"},
        "meta": name,
    }
    return {"data": [trace], "layout": layout}


def _bars(drawn: Lanes, kind: str, zero: float) -> Json:
    mine = [s for s in drawn.segments if s.kind == kind]
    whole_s = max(s.end_s for s in drawn.segments) - min(s.start_s for s in drawn.segments)
    return {
        "type": "bar",
        "orientation": "h",
        "name": LABELS[kind],
        "y": [s.lane for s in mine],
        "base": [round(s.start_s - zero, 3) for s in mine],
        "x": [round(s.end_s - s.start_s, 3) for s in mine],
        "text": [_label(s, whole_s) for s in mine],
        "textposition": "inside",
        "insidetextanchor": "start",
        "constraintext": "none",
        "textangle": 0,
        "cliponaxis": True,
        "textfont": {"size": 11, "color": "#1b1f27" if kind in ("warn", "idle") else "#ffffff"},
        "customdata": [[s.text, round(s.start_s - zero, 2), round(s.end_s - zero, 2)] for s in mine],
        "hovertemplate": "%{y}: %{customdata[0]}<br>%{customdata[1]} s to %{customdata[2]} s<extra></extra>",
        "marker": {
            "color": COLOURS[kind],
            "line": {"width": 0},
            "pattern": {
                "fillmode": "overlay",
                "shape": PATTERNS[kind],
                "size": 6,
                "solidity": 0.12,
                "fgcolor": "#ffffff",
            },
        },
        "xaxis": "x",
        "yaxis": "y",
    }


def _label(s: Segment, whole_s: float) -> str:
    """What is written in a bar: what fits there (on a laptop), with room for the marker where a lane has some."""
    text = f"\u2003{s.text}" if s.lane == "Fault" or s.lane.startswith("on-call") else s.text
    room_px = BARS_PX * (s.end_s - s.start_s) / max(whole_s, 1.0)
    return text if len(text) * LETTER_PX + 6 < room_px else ""


def _points(drawn: Lanes, zero: float) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "events",
        "x": [round(m.t_s - zero, 3) for m in drawn.moments],
        "y": [m.lane for m in drawn.moments],
        "text": [m.text for m in drawn.moments],
        "hovertemplate": "%{text}<br>%{x:.2f} s<extra></extra>",
        "marker": {
            "symbol": [m.symbol for m in drawn.moments],
            "size": 11,
            "color": "#20242c",
            "line": {"color": "#ffffff", "width": 1.5},
        },
        "xaxis": "x",
        "yaxis": "y",
    }


def _latency(requests: Sequence[Request], zero: float, name: str, colour: str, span: list[float]) -> list[Json]:
    buckets: dict[int, list[float]] = {}
    for q in requests:
        if q.ok:
            buckets.setdefault(int(q.t_s), []).append(q.took_s * 1000)
    if not buckets:
        return []
    seconds = [s for s in range(min(buckets), max(buckets) + 1) if s + 0.5 - zero <= span[1]]
    values = [percentile(buckets.get(s, ()), 0.95) for s in seconds]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"p95 {name}",
            "x": [round(s + 0.5 - zero, 2) for s in seconds],
            "y": [None if v is None else round(v, 1) for v in values],
            "connectgaps": False,
            "line": {"color": colour, "width": 1.8},
            "hovertemplate": f"{name}: p95 %{{y:.0f}} ms at %{{x:.0f}} s<extra></extra>",
            "xaxis": "x",
            "yaxis": "y2",
        }
    ]


def _errors(facts: Facts, zero: float) -> Json:
    counts: dict[int, int] = {}
    for q in (*facts.probe, *facts.load):
        if not q.ok:
            counts[int(q.t_s)] = counts.get(int(q.t_s), 0) + 1
    return {
        "type": "bar",
        "name": "errors",
        "showlegend": False,
        "x": [round(s + 0.5 - zero, 2) for s in sorted(counts)],
        "y": [counts[s] for s in sorted(counts)],
        "width": 1,
        "marker": {"color": COLOURS["bad"]},
        "hovertemplate": "%{y} failed requests at %{x:.0f} s<extra></extra>",
        "xaxis": "x",
        "yaxis": "y3",
    }


def _shades(facts: Facts, zero: float) -> list[Json]:
    windows = []
    for proven in facts.history.of("fault", "proven"):
        undone = facts.history.first("fault", "reverted", fault=proven.data.get("fault"))
        if undone:
            windows.append((proven.t_s, undone.t_s))
    shade = {"type": "rect", "xref": "x", "yref": "paper", "y0": 0, "y1": 1, "layer": "below", "line": {"width": 0}}
    found: list[Json] = [
        {**shade, "x0": round(a - zero, 2), "x1": round(b - zero, 2), "fillcolor": COLOURS["bad"], "opacity": 0.09}
        for a, b in windows
    ]
    line = {"color": COLOURS["bad"], "width": 1.5, "dash": "dot"}
    if facts.disturbance:
        found.append({"type": "line", "xref": "x", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "line": line})
    return found
