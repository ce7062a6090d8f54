"""Clauses about what Prometheus stored of the scenario's window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from harness.judge.contract import Clause, Context, at, clause
from harness.judge.facts import Facts
from harness.judge.verdict import Finding, Verdict

KNOWN = ("cpu", "memory", "restarts", "requests", "node-cpu")  # as harness/observe/metrics.py asks them
GAP_S = 30.0  # twice the pace at which the slowest of them is scraped

Series = tuple[str, list[tuple[float, float]]]  # whose, and its points


@clause
@dataclass(frozen=True)
class StaysBelow(Clause):
    """A metric of the app (or of every pod) stays below a limit from the fault on, or in one phase."""

    word: ClassVar[str] = "stays_below"
    metric: str
    limit: float
    app: str = ""
    phase: str = ""

    def validate(self, ctx: Context) -> None:
        """A metric that is recorded, a phase that exists."""
        if self.metric not in KNOWN:
            raise self.refuse(f"no metric is named {self.metric}", f"one of {', '.join(KNOWN)}")
        if self.phase not in ("", "baseline", "fault", "recovery"):
            raise self.refuse("phase is baseline, fault or recovery")

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """The highest point in the window."""
        phase = facts.phase(self.phase) if self.phase else None
        if self.phase and phase is None:
            return self.unknown(f"the story had no phase {self.phase}")
        lo_s, hi_s = (phase.start_s, phase.end_s) if phase else (facts.attempted_s, facts.end_s)
        window = facts.history.last("metrics", "window", name=self.metric)
        if window is None:
            return self.unknown(f"{self.metric} was not recorded")
        if not window.data.get("ok"):
            return self.unknown(f"{self.metric} could not be read: {window.data.get('error')}")
        # A point speaks of its whole range: one that began before the window says nothing certain of it.
        range_s = float(window.data.get("range_s") or 0.0)
        if hi_s - lo_s <= range_s:
            return self.unknown(
                f"the window of {hi_s - lo_s:.0f} s is shorter than the {range_s:.0f} s that a point looks back"
            )
        inside = [(who, [p for p in points if lo_s + range_s <= p[0] <= hi_s]) for who, points in self._series(facts)]
        peaks = [(max(p[1] for p in points), who) for who, points in inside if points]
        if not peaks:
            return self.unknown(f"no {self.metric} of {self.app or 'any pod'} was stored in the window")
        peak, who = max(peaks)
        unit = str(window.data.get("unit", ""))
        evidence = tuple(
            at(None, f"{name}: at most {value:g} {unit}") for value, name in sorted(peaks, reverse=True)[:10]
        )
        about: dict[str, Any] = {"budget": self.limit, "measured": peak, "unit": "count", "evidence": evidence}
        said = f"{self.metric} of {who} reached {peak:g} {unit} (limit {self.limit:g})"
        if peak >= self.limit:
            return self.finding(Verdict.FAIL, said, **about)
        blind_s = _longest_gap(inside, lo_s + range_s, hi_s)
        if blind_s > GAP_S:
            return self.unknown(f"{said}, but for {blind_s:.0f} s nothing was stored", **about)
        return self.finding(Verdict.PASS, said, **about)

    def _series(self, facts: Facts) -> Iterator[Series]:
        apps = {str(r.data.get("name")): str(r.data.get("app")) for r in facts.history.of("k8s", "pod")}
        for r in facts.history.of("metrics", "series"):
            who = " ".join(map(str, r.data.get("labels", {}).values())) or "all"
            if r.data.get("name") == self.metric and (not self.app or apps.get(who) == self.app):
                yield who, [(float(t), float(v)) for t, v in r.data.get("points", ())]


def _longest_gap(series: list[Series], lo_s: float, hi_s: float) -> float:
    """The longest stretch of the window without any point (pods come and go, so all series together)."""
    seen = sorted({t for _, points in series for t, _ in points})
    return max(b - a for a, b in pairwise([lo_s, *seen, hi_s]))
