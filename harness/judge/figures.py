"""The figures of a scenario and of a run: lead time, time to detect, rollback, self-heal, outage, recovery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from harness.judge.alerts import ALWAYS_FIRING
from harness.judge.contract import Context
from harness.judge.facts import Facts
from harness.judge.gitops import drift_seen, reverted, version_served
from harness.judge.recovery import ladder
from harness.judge.users import longest, percentile

LEAD, MTTD, ROLLBACK, HEAL, OUTAGE, RECOVER = (
    "deployment_lead_time",
    "time_to_detect",
    "rollback_time",
    "drift_self_heal_time",
    "user_outage",
    "time_to_recover",
)
HEADLINES = (LEAD, MTTD, ROLLBACK, HEAL)
TITLES: Mapping[str, str] = {
    LEAD: "Deployment lead time",
    MTTD: "Time to detect",
    ROLLBACK: "Rollback time",
    HEAL: "Drift self-heal time",
    OUTAGE: "User-visible outage",
    RECOVER: "Time to recover",
}
MEANINGS: Mapping[str, str] = {
    LEAD: "push accepted by Git → every pod of the new revision Ready and a user answered by it",
    MTTD: "first proven effect of the fault → the alert delivered to on-call, or the Watchdog missed by them",
    ROLLBACK: "revert accepted by Git → the old revision Ready everywhere and users served as before",
    HEAL: "drift accepted by the API → the live object equals Git again and is healthy",
    OUTAGE: "longest streak of failed user requests",
    RECOVER: "fault undone (or proven, where it undoes itself) → Deployment available again",
}


@dataclass(frozen=True)
class Figure:
    """One measured figure: seconds, the half-width of its error, and the layers that it consists of."""

    name: str
    value_s: float
    err_s: float
    parts: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data, rounded to milliseconds."""
        return {
            "name": self.name,
            "value_s": round(self.value_s, 3),
            "err_s": round(self.err_s, 3),
            "parts": {k: round(v, 3) for k, v in self.parts.items()},
        }


@dataclass(frozen=True)
class Stat:
    """A figure over the scenarios of a run."""

    name: str
    n: int
    median_s: float
    p95_s: float
    worst_s: float
    err_s: float

    def to_json(self) -> dict[str, Any]:
        """As plain data, rounded to milliseconds."""
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}


def figures(facts: Facts, ctx: Context) -> tuple[Figure, ...]:
    """All figures that this history has the records for."""
    found = (_lead(facts), _mttd(facts), _rollback(facts), _heal(facts), _outage(facts), *_recover(facts, ctx))
    return tuple(f for f in found if f is not None)


def aggregate(every: Iterable[Figure]) -> dict[str, Stat]:
    """n, median, p95 (nearest rank), worst and the largest error bound, by name."""
    groups: dict[str, list[Figure]] = {}
    for f in every:
        groups.setdefault(f.name, []).append(f)
    return {name: _stat(name, group) for name, group in groups.items()}


def _stat(name: str, group: Sequence[Figure]) -> Stat:
    values = [f.value_s for f in group]
    p95 = percentile(values, 0.95)
    return Stat(
        name, len(values), median(values), p95 if p95 is not None else 0.0, max(values), max(f.err_s for f in group)
    )


def _lead(facts: Facts) -> Figure | None:
    push = facts.history.first("git", "push_accepted", purpose="release")
    if push is None:
        return None
    done = version_served(facts, str(push.data.get("version")), push.t_s)
    if done is None:
        return None
    parts = {"pods ready": done.pods.t_s - push.t_s, "first user answered": done.user_s - push.t_s}
    return Figure(LEAD, done.t_s - push.t_s, done.err_s + push.err_s, parts)


def _mttd(facts: Facts) -> Figure | None:
    bad = facts.history.first("git", "push_accepted", purpose="bad")
    proven = facts.history.first("fault", "proven") or (facts.disturbance if bad else None)
    if proven is None:
        return None
    told = [r for r in facts.deliveries("firing") if r.t_s >= proven.t_s and r.data.get("name") not in ALWAYS_FIRING]
    missed_s = _watchdog_missed(facts, proven.t_s)
    if missed_s is not None and (not told or missed_s < told[0].t_s):
        after_s = missed_s - proven.t_s
        return Figure(MTTD, after_s, proven.err_s, {"the Watchdog missed": after_s})
    if not told:
        return None
    name = str(told[0].data.get("name"))
    parts = {}
    for state in ("pending", "firing"):
        seen = [r for r in facts.alert_states(name) if r.data.get("state") == state and r.t_s >= facts.attempted_s]
        if seen:
            parts[state] = max(seen[0].t_s - proven.t_s, 0.0)
    parts["delivered"] = told[0].t_s - proven.t_s
    return Figure(MTTD, told[0].t_s - proven.t_s, told[0].err_s + proven.err_s, parts)


def _watchdog_missed(facts: Facts, since_s: float) -> float | None:
    """When on-call first missed the Watchdog, by a receiver that was seen all the time."""
    for silence in facts.watchdog_silences():
        noticed_s = silence.start_s + facts.watchdog_limit_s
        if noticed_s >= since_s and not facts.blind(("receiver",), silence.start_s, noticed_s):
            return noticed_s
    return None


def _rollback(facts: Facts) -> Figure | None:
    push = facts.history.last("git", "push_accepted", purpose="revert")
    bad = facts.history.last("git", "push_accepted", purpose="bad")
    if push is None or bad is None:
        return None
    done = reverted(facts, bad, push)
    if done is None:
        return None
    parts = {"pods ready": done.pods.t_s - push.t_s, "users served": max(done.user_s - push.t_s, 0.0)}
    return Figure(ROLLBACK, done.t_s - push.t_s, done.err_s + push.err_s, parts)


def _heal(facts: Facts) -> Figure | None:
    drift = facts.history.first("drift", "accepted")
    if drift is None:
        return None
    seen = drift_seen(facts, drift)
    drift, fell, healed = seen.accepted, seen.fell, seen.healed
    if fell is None or healed is None:
        return None
    equal = next((r for r in facts.history.of("live", "diff") if r.t_s >= fell.t_s and r.data.get("equal")), None)
    parts = {"equal to Git": equal.t_s - drift.t_s} if equal else {}
    parts["healthy"] = healed.t_s - drift.t_s
    return Figure(HEAL, healed.t_s - drift.t_s, healed.err_s + drift.err_s, parts)


def _outage(facts: Facts) -> Figure | None:
    if not facts.probe or facts.disturbance is None:
        return None
    outage = longest(facts, facts.attempted_s, facts.end_s)
    return Figure(OUTAGE, outage.length_s if outage else 0.0, 0.1)


def _recover(facts: Facts, ctx: Context) -> list[Figure]:
    found = []
    for app in facts.blast_radius:
        rungs, origin = ladder(facts, app, ctx, ctx.profile.ready_s)
        rung = next((r for r in rungs if r.name == "Deployment available" and r.took_s is not None), None)
        if origin and rung and rung.took_s is not None:
            parts = {r.name: r.took_s for r in rungs if r.took_s is not None}
            found.append(Figure(RECOVER, rung.took_s, rung.err_s, parts))
    return found[:1]
