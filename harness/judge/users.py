"""Clauses about users and logs: errors, speed and outages felt, lines written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.judge.contract import Clause, Context, at, blind_text, clause
from harness.judge.facts import Facts, Request
from harness.judge.recovery import slo_restored
from harness.judge.verdict import Evidence, Finding, Verdict, compare, secs

MIN_REQUESTS = 20


@dataclass(frozen=True)
class Outage:
    """A streak of failed probe requests: from the first failed one to the next good one."""

    start_s: float
    end_s: float
    requests: int
    ended: bool

    @property
    def length_s(self) -> float:
        """How long it lasted."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class UserStats:
    """What users felt in a window."""

    requests: int
    failed: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None

    @property
    def error_rate(self) -> float:
        """The share of failed requests."""
        return self.failed / self.requests if self.requests else 0.0


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def stats(requests: Iterable[Request]) -> UserStats:
    """Error rate and latencies; quick errors do not flatter the latencies."""
    every = list(requests)
    good = [q.took_s for q in every if q.ok]
    p50, p95, p99 = (percentile(good, share) for share in (0.50, 0.95, 0.99))
    return UserStats(len(every), len(every) - len(good), p50, p95, p99)


def outages(requests: Sequence[Request], end_s: float) -> list[Outage]:
    """All streaks of failed requests, in order."""
    found: list[Outage] = []
    streak: list[Request] = []
    for q in requests:
        if not q.ok:
            streak.append(q)
        elif streak:
            found.append(Outage(streak[0].t_s, q.t_s, len(streak), True))
            streak = []
    if streak:
        found.append(Outage(streak[0].t_s, max(end_s, streak[-1].t_s), len(streak), False))
    return found


def within(requests: Iterable[Request], lo_s: float, hi_s: float) -> list[Request]:
    """The requests that started in the window."""
    return [q for q in requests if lo_s <= q.t_s <= hi_s]


def longest(facts: Facts, lo_s: float, hi_s: float) -> Outage | None:
    """The longest outage that the probe felt in the window."""
    found = outages(within(facts.probe, lo_s, hi_s), hi_s)
    return max(found, key=lambda o: o.length_s, default=None)


def load_doubt(facts: Facts, hi_s: float) -> str:
    """Why the shoppers cannot be trusted to have shopped to the end; empty when they can."""
    start = facts.history.first("load", "start")
    if start is None:
        return ""
    end = facts.history.last("load", "end")
    if end is None:
        return "the load has no recorded end"
    if end.data.get("died") or end.data.get("exit_code") not in (0, None):
        return f"the load died at {end.t_s:.0f} s (exit code {end.data.get('exit_code')})"
    if end.t_s < hi_s - 5:
        return f"the load ended at {end.t_s:.0f} s, the window at {hi_s:.0f} s"
    if not facts.load or facts.load[0].t_s > facts.attempted_s:
        return "no shopper had shopped before the fault"
    gaps = facts.gaps("load", facts.load[0].t_s, min(end.t_s, hi_s))
    return blind_text(gaps) if gaps else ""


@clause
@dataclass(frozen=True)
class Users(Clause):
    """What users may feel in a phase: error rate, p95 of good requests, longest outage."""

    word: ClassVar[str] = "users"
    phase: str = ""
    after: str = ""
    errors_below: float | None = None
    p95_below_s: float | None = None
    longest_outage_below_s: float | None = None

    def sources(self) -> tuple[str, ...]:
        """The probe; the load is looked at where there is one."""
        return ("probe",)

    def validate(self, ctx: Context) -> None:
        """A phase that exists, at least one limit, a share below 1."""
        if self.phase and self.phase not in ("baseline", "fault", "recovery"):
            raise self.refuse("phase is baseline, fault or recovery")
        if self.after not in ("", "recovery") or bool(self.phase) == bool(self.after):
            raise self.refuse('give either phase="..." or after="recovery"')
        if self.errors_below is None and self.p95_below_s is None and self.longest_outage_below_s is None:
            raise self.refuse("names no limit")
        if self.errors_below is not None and self.errors_below > 1:
            raise self.refuse("errors_below is a share: 0.01 is one percent")

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Probe and shoppers together in the window."""
        window = self._window(facts)
        if isinstance(window, str):
            return self.unknown(window)
        lo_s, hi_s = window
        gaps = facts.blind(self.sources(), lo_s, hi_s)
        doubt = blind_text(gaps) if gaps else load_doubt(facts, hi_s)
        if doubt:
            return self.unknown(f"cannot tell what users felt: {doubt}")
        requests = within((*facts.probe, *facts.load), lo_s, hi_s)
        needed = max(MIN_REQUESTS, math.ceil(1 / self.errors_below) if self.errors_below else 0)
        if len(requests) < needed:
            why = f"only {len(requests)} requests in the window; this limit needs {needed}"
            return self.unknown(why)
        felt, outage = stats(requests), longest(facts, lo_s, hi_s)
        evidence = [
            at(lo_s, f"{felt.requests} requests, {felt.failed} failed, p95 {_ms(felt.p95_s)}"),
        ]
        failed = [q for q in requests if not q.ok]
        evidence += [at(q.t_s, f"failed: {q.error or q.status}") for q in failed[:10]]
        return self._verdict(felt, outage, tuple(evidence))

    def _window(self, facts: Facts) -> tuple[float, float] | str:
        if self.phase:
            phase = facts.phase(self.phase)
            return (phase.start_s, phase.end_s) if phase else f"the story had no phase {self.phase}"
        start = facts.disturbance
        if start is None:
            return "nothing was done to the system"
        requests = within(facts.probe, facts.attempted_s, facts.end_s)
        if all(q.ok for q in requests):
            return start.t_s, facts.end_s
        restored = slo_restored(requests)
        phase = facts.phase("recovery")
        if restored is None:
            return (phase.start_s if phase else start.t_s), facts.end_s
        return restored.t_s, facts.end_s

    def _verdict(self, felt: UserStats, outage: Outage | None, evidence: tuple[Evidence, ...]) -> Finding:
        over: list[str] = []
        if self.errors_below is not None and felt.error_rate >= self.errors_below > 0:
            over.append(f"{felt.error_rate:.1%} of requests failed (limit {self.errors_below:.1%})")
        if self.errors_below == 0 and felt.failed:
            over.append(f"{felt.failed} requests failed")
        if self.p95_below_s is not None and (felt.p95_s is None or felt.p95_s >= self.p95_below_s):
            over.append(f"p95 was {_ms(felt.p95_s)} (limit {_ms(self.p95_below_s)})")
        length_s = outage.length_s if outage else 0.0
        if self.longest_outage_below_s is not None and length_s >= self.longest_outage_below_s:
            over.append(f"the longest outage was {secs(length_s)} (limit {secs(self.longest_outage_below_s)})")
        if self.errors_below is not None:
            measure, budget, unit = felt.error_rate, self.errors_below, "ratio"
        elif self.p95_below_s is not None:
            measure, budget, unit = felt.p95_s or 0.0, self.p95_below_s, "s"
        else:
            measure, budget, unit = length_s, float(self.longest_outage_below_s or 0), "s"
        where = f"in phase {self.phase}" if self.phase else "once recovered"
        kept = f"{felt.error_rate:.2%} of {felt.requests} requests failed, p95 {_ms(felt.p95_s)}"
        verdict = Verdict.FAIL if over else Verdict.PASS
        why = f"users {where}: {'; '.join(over) or kept}"
        err_s = 0.1 if unit == "s" else 0.0
        return self.finding(verdict, why, budget=budget, measured=measure, unit=unit, err_s=err_s, evidence=evidence)


@dataclass(frozen=True)
class _OutageClause(Clause):
    def sources(self) -> tuple[str, ...]:
        return ("probe",)

    def _felt(self, facts: Facts) -> tuple[Outage | None, str]:
        """The longest outage since the story touched the system, and any doubt about it."""
        lo_s = facts.attempted_s
        gaps = facts.blind(self.sources(), lo_s, facts.end_s)
        if len(within(facts.probe, lo_s, facts.end_s)) < MIN_REQUESTS:
            return None, "too few requests were made"
        return longest(facts, lo_s, facts.end_s), blind_text(gaps) if gaps else ""


@clause
@dataclass(frozen=True)
class NoOutage(_OutageClause):
    """Users feel no outage: no streak of failed requests longer than `tolerate_s`."""

    word: ClassVar[str] = "no_outage"
    tolerate_s: float = 0.0

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """The longest streak of failed probe requests."""
        outage, doubt = self._felt(facts)
        length_s = outage.length_s if outage else 0.0
        # What was seen to fail did fail, whatever was missed besides.
        if outage and length_s > self.tolerate_s:
            why = f"users had an outage of {secs(length_s)}, {outage.requests} requests in a row failed"
            evidence = (at(outage.start_s, "the outage began"), at(outage.end_s, "the outage ended"))
            return self.finding(
                Verdict.FAIL, why, budget=self.tolerate_s, measured=length_s, err_s=0.1, evidence=evidence
            )
        if doubt:
            return self.unknown(f"no outage was seen, but {doubt}")
        why = "users never noticed: no request failed" if not length_s else f"longest outage {secs(length_s)}"
        return self.finding(Verdict.PASS, why, budget=self.tolerate_s, measured=length_s, err_s=0.1)


@clause
@dataclass(frozen=True)
class OutageSeen(_OutageClause):
    """The overlay is expected not to survive this: users do feel an outage, and the harness sees it."""

    word: ClassVar[str] = "outage_seen"
    at_least_s: float = 0.0
    within_s: float | None = None

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """An outage of at least that length, and at most `within_s`."""
        outage, doubt = self._felt(facts)
        if doubt:
            return self.unknown(f"cannot tell what users felt: {doubt}")
        if outage is None:
            return self.finding(
                Verdict.FAIL, "users felt no outage although this overlay cannot survive the fault", measured=0.0
            )
        evidence = (at(outage.start_s, "the outage began"), at(outage.end_s, "the outage ended"))
        why = f"users had an outage of {secs(outage.length_s)}, as this overlay must expect"
        verdict = Verdict.PASS
        if outage.length_s < self.at_least_s:
            verdict, why = (
                Verdict.FAIL,
                f"the outage lasted only {secs(outage.length_s)}, expected {secs(self.at_least_s)}",
            )
        elif self.within_s is not None:
            verdict = compare(outage.length_s, 0.1, self.within_s)
            why = f"users had an outage of {secs(outage.length_s)} (at most {secs(self.within_s)})"
        return self.finding(verdict, why, budget=self.within_s, measured=outage.length_s, err_s=0.1, evidence=evidence)


@dataclass(frozen=True)
class _LogClause(Clause):
    text: str
    app: str = ""

    def sources(self) -> tuple[str, ...]:
        return ("log",)

    def _lines(self, facts: Facts) -> list[Evidence]:
        found = [
            r
            for r in facts.history.of("log", "line")
            if self.text in str(r.data.get("text")) and self.app in ("", r.data.get("app"))
        ]
        return [
            at(r.t_s, f"{r.data.get('pod')}: {str(r.data.get('text'))[:200]}")
            for r in found
            if r.t_s >= facts.attempted_s
        ]


@clause
@dataclass(frozen=True)
class LogContains(_LogClause):
    """A line with that text is written and reaches Loki."""

    word: ClassVar[str] = "log_contains"

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """At least one line after the story touched the system."""
        lines = self._lines(facts)
        if lines:
            return self.finding(Verdict.PASS, f'{len(lines)} log lines say "{self.text}"', evidence=tuple(lines[:10]))
        gaps = facts.blind(self.sources(), facts.attempted_s, facts.end_s)
        if gaps:
            return self.unknown(f"no such line was seen, but {blind_text(gaps)}")
        return self.finding(Verdict.FAIL, f'no log line says "{self.text}"')


@clause
@dataclass(frozen=True)
class LogNever(_LogClause):
    """No line with that text is written."""

    word: ClassVar[str] = "log_never"

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """No line, and Loki could tell."""
        lines = self._lines(facts)
        if lines:
            why = f'{len(lines)} log lines say "{self.text}", which must not happen'
            return self.finding(Verdict.FAIL, why, evidence=tuple(lines[:10]))
        gaps = facts.blind(self.sources(), facts.attempted_s, facts.end_s)
        if not gaps and facts.history.first("log", "line") is None:
            return self.unknown("no such line was seen, but no log line at all came from Loki")
        if gaps:
            return self.unknown(f"no such line was seen, but {blind_text(gaps)}")
        return self.finding(Verdict.PASS, f'no log line says "{self.text}"')


def _ms(value_s: float | None) -> str:
    return "unknown" if value_s is None else f"{value_s * 1000:.0f} ms" if value_s < 1 else secs(value_s)
