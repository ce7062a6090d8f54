"""Clauses about alerts: what on-call must hear, must not hear, and must hear the end of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.history import Record
from harness.judge.contract import Clause, Context, at, blind_text, clause
from harness.judge.facts import ALERT_SOURCES, Facts, before, fell_and_rose, survivor
from harness.judge.facts import Step as FactStep
from harness.judge.verdict import Evidence, Finding, Verdict, compare, secs

ALWAYS_FIRING = ("Watchdog", "InfoInhibitor")


@dataclass(frozen=True)
class _AlertClause(Clause):
    alert: str

    def sources(self) -> tuple[str, ...]:
        return ALERT_SOURCES

    def validate(self, ctx: Context) -> None:
        if ctx.known_alerts is not None and self.alert not in ctx.known_alerts:
            raise self.refuse(f"no alert is named {self.alert}", f"one of {', '.join(sorted(ctx.known_alerts))}")


@clause
@dataclass(frozen=True)
class MustFire(_AlertClause):
    """The alert reaches on-call within its budget (derived from the profile)."""

    word: ClassVar[str] = "must_fire"
    labels: Mapping[str, str] = field(default_factory=dict)
    within_s: float | None = None

    def __hash__(self) -> int:
        return hash((self.word, self.alert, tuple(sorted(self.labels.items())), self.within_s))

    def validate(self, ctx: Context) -> None:
        """The alert exists, and the budget is not below what detection needs."""
        super().validate(ctx)
        bound_s = ctx.profile.detect_s(self.alert)
        if self.budget_s(bound_s, ctx) < bound_s:
            raise self.refuse(
                f"{secs(self.budget_s(bound_s, ctx))} is below the detection bound of profile {ctx.profile.name} "
                f"({secs(bound_s)} = 2 x (scrape + evaluation) + for + group_wait)",
                "leave the budget out: it is derived",
            )

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Delivered after the fault, in time."""
        start = facts.disturbance
        if start is None:
            return self.unknown("nothing was done to the system, so there was nothing to detect")
        budget_s = self.budget_s(ctx.profile.detect_s(self.alert), ctx)
        evidence = tuple(_layers(facts, self.alert, self.labels))
        if _firing_at(facts, self.alert, facts.attempted_s):
            return self.unknown(f"{self.alert} was already firing before the fault", evidence=evidence)
        wanted = self._wanted(facts, ctx)
        heard = next((r for r in facts.deliveries("firing", self.alert, wanted) if r.t_s >= start.t_s), None)
        until_s = start.t_s + budget_s if heard is None else heard.t_s
        gaps = facts.blind(self.sources(), start.t_s, until_s)
        if gaps:
            return self.unknown(f"cannot tell when {self.alert} fired: {blind_text(gaps)}", evidence=evidence)
        if heard is None:
            return self._unheard(facts, start.t_s, budget_s, wanted, evidence)
        took_s, err_s = heard.t_s - start.t_s, heard.err_s + start.err_s
        verdict = compare(took_s, err_s, budget_s)
        tail = {
            Verdict.PASS: f"in time (at most {secs(budget_s)})",
            Verdict.FAIL: f"too late (at most {secs(budget_s)})",
            Verdict.UNKNOWN: f"within the measuring error of its limit of {secs(budget_s)}",
        }[verdict]
        why = f"on-call was told {self.alert} {secs(took_s)} after the fault took effect, {tail}"
        return self.finding(verdict, why, budget=budget_s, measured=took_s, err_s=err_s, evidence=evidence)

    def _wanted(self, facts: Facts, ctx: Context) -> dict[str, str]:
        info = (ctx.known_alerts or {}).get(self.alert)
        mine = {} if info and info.cluster_wide else {"namespace": facts.namespace}
        return {**mine, **self.labels}

    def _unheard(
        self,
        facts: Facts,
        start_s: float,
        budget_s: float,
        wanted: Mapping[str, str],
        evidence: tuple[Evidence, ...],
    ) -> Finding:
        watched_s = facts.end_s - start_s
        if watched_s < budget_s:
            return self.unknown(
                f"the story ended {secs(watched_s)} after the fault, before {self.alert} was due ({secs(budget_s)})",
                budget=budget_s,
                evidence=evidence,
            )
        if facts.rules is not None and not any(r.get("name") == self.alert for r in facts.rules):
            why = f"on-call was never told: no rule named {self.alert} is loaded in Prometheus"
        elif facts.deliveries("firing", self.alert):
            why = f"{self.alert} came, but with other labels than {_shown(wanted)}"
        elif facts.alert_states(self.alert):
            state = facts.alert_states(self.alert)[-1].data.get("state")
            why = f"on-call was never told: {self.alert} was last {state} in Prometheus and not delivered"
        else:
            why = f"on-call was never told: {self.alert} was not even pending"
        return self.finding(Verdict.FAIL, why, budget=budget_s, evidence=evidence)


@clause
@dataclass(frozen=True)
class MustResolve(_AlertClause):
    """On-call hears that it is over, within the budget from the end of the condition."""

    word: ClassVar[str] = "must_resolve"
    within_s: float | None = None

    def validate(self, ctx: Context) -> None:
        """The alert exists, and the budget is not below what resolving needs."""
        super().validate(ctx)
        bound_s = ctx.profile.resolved_s()
        if self.budget_s(bound_s, ctx) < bound_s:
            raise self.refuse(
                f"{secs(self.budget_s(bound_s, ctx))} is below the resolve bound of profile {ctx.profile.name} "
                f"({secs(bound_s)} = 2 x (scrape + evaluation) + group_interval)",
                "leave the budget out: it is derived",
            )

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Resolved message delivered after the condition ended, in time."""
        start = facts.disturbance
        if start is None:
            return self.unknown("nothing was done to the system, so nothing could resolve")
        evidence = tuple(_layers(facts, self.alert, {}))
        fired = next((r for r in facts.deliveries("firing", self.alert) if r.t_s >= start.t_s), None)
        if fired is None:
            return self.unknown(f"{self.alert} was never delivered, so it could not resolve", evidence=evidence)
        over = condition_over(facts, ctx, self.alert)
        if over is None:
            return self.finding(
                Verdict.UNKNOWN, f"the condition of {self.alert} was never seen to end", evidence=evidence
            )
        budget_s = self.budget_s(ctx.profile.resolved_s(), ctx)
        told = next((r for r in facts.deliveries("resolved", self.alert) if r.t_s > fired.t_s), None)
        until_s = over.t_s + budget_s if told is None else told.t_s
        gaps = facts.blind(self.sources(), min(over.t_s, until_s), until_s)
        if gaps:
            return self.unknown(f"cannot tell when {self.alert} resolved: {blind_text(gaps)}", evidence=evidence)
        if told is None:
            watched_s = facts.end_s - over.t_s
            if watched_s < budget_s:
                why = f"the story ended {secs(watched_s)} after recovery, before the resolved message was due"
                return self.unknown(why, budget=budget_s, evidence=evidence)
            why = f"on-call was never told that {self.alert} is over"
            return self.finding(Verdict.FAIL, why, budget=budget_s, evidence=evidence)
        took_s, err_s = max(told.t_s - over.t_s, 0.0), told.err_s + over.err_s
        verdict = compare(took_s, err_s, budget_s)
        why = f"on-call was told that {self.alert} is over {secs(took_s)} after it was (at most {secs(budget_s)})"
        return self.finding(verdict, why, budget=budget_s, measured=took_s, err_s=err_s, evidence=evidence)


@clause
@dataclass(frozen=True)
class MustNotFire(_AlertClause):
    """The alert stays silent: in Prometheus (pending is allowed) and at on-call."""

    word: ClassVar[str] = "must_not_fire"

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Not firing, not delivered, and the silence means something."""
        loud = _loud(facts, self.alert)
        evidence = tuple(_layers(facts, self.alert, {}))
        if loud:
            return self.finding(Verdict.FAIL, f"{self.alert} fired although the contract forbids it", evidence=evidence)
        doubt = _silence_doubt(facts, ctx, self.alert)
        if doubt:
            return self.unknown(f"{self.alert} was not heard, but {doubt}", evidence=evidence)
        return self.finding(Verdict.PASS, f"{self.alert} stayed silent, as it should", evidence=evidence)


@clause
@dataclass(frozen=True)
class NothingElseFires(Clause):
    """No alert of ours fires but those that the contract names or allows."""

    word: ClassVar[str] = "nothing_else_fires"
    allow: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    def sources(self) -> tuple[str, ...]:
        """All layers of alerting."""
        return ALERT_SOURCES

    def __str__(self) -> str:
        return f"{self.word}({f'allow={list(self.allow)}' if self.allow else ''})".replace("'", '"')

    def validate(self, ctx: Context) -> None:
        """Allowed names exist."""
        unknown = [a for a in self.allow if ctx.known_alerts is not None and a not in ctx.known_alerts]
        if unknown:
            raise self.refuse(f"no alert is named {unknown[0]}")

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Every alert that fired after the fault is expected."""
        expected = {*self.allow, *self.named, *ALWAYS_FIRING}
        loud = [r for r in _loud(facts, None) if r.data.get("name") not in expected]
        if loud:
            names = sorted({str(r.data.get("name")) for r in loud})
            evidence = tuple(e for n in names for e in _layers(facts, n, {}))
            why = f"on-call would have been called for something else: {', '.join(names)}"
            return self.finding(Verdict.FAIL, why, budget=0, measured=len(names), unit="count", evidence=evidence)
        doubt = _silence_doubt(facts, ctx, None)
        if doubt:
            return self.unknown(f"nothing else was heard, but {doubt}")
        return self.finding(Verdict.PASS, "no other alert fired", budget=0, measured=0, unit="count")


def condition_over(facts: Facts, ctx: Context, alert: str) -> Record | FactStep | None:
    """When the condition behind an alert ended: its Deployment (or all that fell) had an available pod again."""
    start = facts.disturbance
    if start is None:
        return None
    app = ctx.app_of(alert)
    apps: Iterable[str] = [app] if app else facts.blast_radius
    risen: list[FactStep] = []
    for name in apps:
        steps = [FactStep(r.t_s, r.err_s, int(r.data.get("available") or 0) > 0) for r in facts.deployment(name)]
        fell, rose = fell_and_rose(steps, start.t_s)
        if fell is not None and rose is None:
            return None
        if rose is not None:
            risen.append(rose)
    undone = [
        r for r in (facts.history.first("fault", "gone"), facts.history.first("fault", "reverted")) if r is not None
    ]
    if risen:
        return max(risen, key=lambda s: s.t_s)
    return undone[0] if undone else None


def _loud(facts: Facts, alert: str | None) -> list[Record]:
    """Alerts of ours that fire or reach on-call after the story first touched the system."""
    fired = [r for r in facts.alert_states(alert) if r.data.get("state") == "firing"]
    both = [*fired, *facts.deliveries("firing", alert)]
    return sorted((r for r in both if r.t_s >= facts.attempted_s), key=lambda r: r.t_s)


def _firing_at(facts: Facts, alert: str, t_s: float) -> bool:
    """Whether the alert was firing at that time."""
    state: dict[str, Any] = {}
    for r in facts.alert_states(alert):
        if r.t_s < t_s:
            state[str(sorted(r.data.get("labels", {}).items()))] = r.data.get("state")
    return "firing" in state.values()


def _silence_doubt(facts: Facts, ctx: Context, alert: str | None) -> str:
    """Why silence would prove nothing; empty when it does."""
    start = facts.disturbance
    lo_s = facts.attempted_s
    gaps = facts.blind(ALERT_SOURCES, lo_s, facts.end_s)
    if gaps:
        return blind_text(gaps)
    if facts.rules is None:
        return "which rules Prometheus had loaded was not recorded"
    mine = [r for r in facts.rules if alert is None or r.get("name") == alert]
    mine = [r for r in mine if str((r.get("labels") or {}).get("namespace", facts.namespace)) == facts.namespace]
    if alert is None:
        names = {r.get("name") for r in facts.rules}
        missing = sorted(set(ctx.known_alerts or ()) - names)
        if not mine or missing:
            return f"rules are missing in Prometheus: {', '.join(missing) or 'all'}"
    elif not mine:
        return f"no rule named {alert} is loaded for this namespace: silence proves nothing"
    if start is None:
        return ""
    due_s = start.t_s + (ctx.profile.detect_s(alert) if alert else ctx.profile.noticed_s() + ctx.profile.for_s)
    back_s = _all_back_s(facts, facts.attempted_s)
    if back_s is not None:
        due_s = min(due_s, back_s + ctx.profile.noticed_s())
    if facts.end_s + 0.5 < due_s:
        return f"the story ended at {facts.end_s:.0f} s, before the alert would have shown ({due_s:.0f} s)"
    return ""


def _all_back_s(facts: Facts, since_s: float) -> float | None:
    """When the blast radius had all its serving pods again; None if one did not come back or nothing fell."""
    times = []
    for app in facts.blast_radius:
        counts = facts.pod_counts(app, survivor)
        usual = before(counts, since_s - 0.001) or 0
        steps = [FactStep(r.t_s, r.err_s, n >= usual) for r, n in counts]
        fell, rose = fell_and_rose(steps, since_s)
        if fell is not None and rose is None:
            return None
        if rose is not None:
            times.append(rose.t_s)
    return max(times, default=None)


def _layers(facts: Facts, alert: str, labels: Mapping[str, str]) -> Iterable[Evidence]:
    """The alert's life at the three layers."""
    wanted = dict(labels)
    found = [(r.t_s, f"Prometheus: {alert} {r.data.get('state')}") for r in facts.alert_states(alert)]
    for status in ("firing", "resolved"):
        found += [(r.t_s, f"receiver: {alert} {status}") for r in facts.deliveries(status, alert, wanted)]
    return (at(t_s, text) for t_s, text in sorted(found)[:40])


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(labels.items())) or "none"
