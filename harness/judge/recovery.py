"""The recovery ladder: pod, Deployment, endpoints, first good request, SLO, alert, Argo CD and live objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.history import Record
from harness.judge.contract import Clause, Context, at, blind_text, clause
from harness.judge.facts import Facts, Request, Step, before, fell_and_rose, survivor
from harness.judge.verdict import Finding, Rung, Verdict, compare, merge, secs

SLO_ERRORS = 0.01  # users are served again when from here on fewer requests than this fail
ONE_SHOT_S = 1.0


@dataclass(frozen=True)
class Origin:
    """Where the time to recover starts."""

    t_s: float
    err_s: float
    text: str


@clause
@dataclass(frozen=True)
class Recovers(Clause):
    """The app went down and came back, on every rung of the ladder, each within its budget."""

    word: ClassVar[str] = "recovers"
    app: str
    within_s: float | None = None

    def sources(self) -> tuple[str, ...]:
        """Kubernetes, users, Argo CD and the live objects; alerting only where one fired."""
        return ("k8s", "probe", "argocd", "live")

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Judge every rung."""
        if facts.disturbance is None:
            return self.unknown("nothing was done to the system, so there was nothing to recover from")
        rungs, origin = ladder(facts, self.app, ctx, self.budget_s(ctx.profile.ready_s, ctx))
        if origin is None:
            why = f"{self.app} was never seen going down, so its recovery proves nothing"
            return self.unknown(why, rungs=rungs)
        verdict = merge(r.verdict for r in rungs)
        reached = [r for r in rungs if r.took_s is not None]
        slowest = max(reached, key=lambda r: r.took_s or 0, default=None)
        evidence = (at(origin.t_s, f"counted from: {origin.text}"),)
        if verdict is Verdict.PASS and slowest:
            why = f"{self.app} was back on every rung; the last, {slowest.name}, after {secs(slowest.took_s or 0)}"
        else:
            bad = next((r for r in rungs if r.verdict is verdict), None)
            why = f"{self.app}: {bad.name}: {bad.note}" if bad else f"{self.app}: no rung could be judged"
        api = next((r for r in rungs if r.name == "Deployment available"), None)
        return self.finding(
            verdict,
            why,
            budget=api.budget_s if api else None,
            measured=api.took_s if api else None,
            err_s=api.err_s if api else 0.0,
            evidence=evidence,
            rungs=rungs,
        )


def ladder(facts: Facts, app: str, ctx: Context, budget_s: float) -> tuple[tuple[Rung, ...], Origin | None]:
    """The rungs, and the point from which they count (None: the app was never seen going down)."""
    start = facts.disturbance
    if start is None:
        return (), None
    # The effect may show a little before the fault is proven; the fault was injected by then.
    since_s = min(start.t_s, facts.attempted_s)
    pods, deployment, endpoints = (
        _pods(facts, app, since_s),
        _deployment(facts, app, since_s),
        _ends(facts, app, since_s),
    )
    fell = [s for s, _ in (fell_and_rose(x, since_s) for x in (pods, deployment)) if s is not None]
    if not fell:
        return (), None
    origin = _origin(facts, start, [fell_and_rose(x, since_s)[1] for x in (pods, deployment)])
    users = _users(facts, since_s)
    longer_s = budget_s + ctx.profile.sync_s
    rungs = [
        _rung("pod Ready", pods, facts, since_s, origin, budget_s, ("k8s",)),
        _rung("Deployment available", deployment, facts, since_s, origin, budget_s, ("k8s",)),
        _rung("endpoints ready", endpoints, facts, since_s, origin, budget_s, ("k8s",)),
        _first_good(users, facts, since_s, origin, budget_s),
        _slo(users, facts, since_s, origin, longer_s),
        _alert(facts, ctx, since_s, origin, budget_s + ctx.profile.resolved_s()),
        _rung(
            "Argo CD healthy and live equals Git", _gitops(facts), facts, since_s, origin, longer_s, ("argocd", "live")
        ),
    ]
    return tuple(rungs), origin


def _origin(facts: Facts, start: Record, risen: Sequence[Step | None]) -> Origin:
    """The latest action that could let it recover: the revert where one was needed, else the fault itself."""
    back_s = max((s.t_s for s in risen if s is not None), default=facts.end_s)
    # What is over at once (a kill) was undone by the platform, not by the revert.
    undo = [r for r in facts.history.of("fault", "reverted") if r.t_s - start.t_s > ONE_SHOT_S]
    undo += [r for r in facts.history.of("git", "push_accepted") if r.data.get("purpose") == "revert"]
    last = max((r for r in undo if start.t_s <= r.t_s <= back_s), key=lambda r: r.t_s, default=None)
    if last is None:
        return Origin(start.t_s, start.err_s, "the fault's first proven effect")
    return Origin(last.t_s, last.err_s, "the fault was undone" if last.source == "fault" else "the revert was pushed")


def _rung(
    name: str,
    steps: Sequence[Step],
    facts: Facts,
    since_s: float,
    origin: Origin,
    budget_s: float,
    sources: tuple[str, ...],
) -> Rung:
    if not steps:
        return Rung(name, Verdict.UNKNOWN, "was not recorded", budget_s=budget_s)
    fell, rose = fell_and_rose(steps, since_s)
    gaps = facts.blind(sources, since_s, rose.t_s if rose else facts.end_s)
    if gaps:
        return Rung(name, Verdict.UNKNOWN, blind_text(gaps), budget_s=budget_s)
    if fell is None:
        return Rung(name, Verdict.PASS, "was good throughout", budget_s=budget_s)
    if rose is None:
        return _not_back(name, facts, origin, budget_s, fell.text)
    took_s, err_s = max(rose.t_s - origin.t_s, 0.0), rose.err_s + origin.err_s
    verdict = compare(took_s, err_s, budget_s)
    return Rung(name, verdict, f"after {secs(took_s)} (at most {secs(budget_s)})", rose.t_s, took_s, err_s, budget_s)


def _not_back(name: str, facts: Facts, origin: Origin, budget_s: float, seen: str = "") -> Rung:
    watched_s = facts.end_s - origin.t_s
    detail = f" ({seen})" if seen else ""
    if watched_s < budget_s:
        note = f"not back when the story ended after {secs(watched_s)}, within its budget{detail}"
        return Rung(name, Verdict.UNKNOWN, note, budget_s=budget_s)
    return Rung(name, Verdict.FAIL, f"not back after {secs(watched_s)}{detail}", budget_s=budget_s)


def _first_good(users: Sequence[Request], facts: Facts, since_s: float, origin: Origin, budget_s: float) -> Rung:
    name = "first good user request"
    gaps = facts.blind(("probe",), since_s, facts.end_s)
    if gaps:
        return Rung(name, Verdict.UNKNOWN, blind_text(gaps), budget_s=budget_s)
    failed = [q for q in users if not q.ok]
    if not failed:
        return Rung(name, Verdict.PASS, "users never noticed", budget_s=budget_s)
    since_s = max(origin.t_s, failed[0].t_s)
    good = next((q for q in users if q.ok and q.t_s >= since_s), None)
    if good is None:
        return _not_back(name, facts, origin, budget_s, failed[-1].error)
    took_s, err_s = max(good.t_s + good.took_s - origin.t_s, 0.0), 0.1 + origin.err_s
    note = f"after {secs(took_s)} (at most {secs(budget_s)})"
    return Rung(name, compare(took_s, err_s, budget_s), note, good.t_s, took_s, err_s, budget_s)


def _slo(users: Sequence[Request], facts: Facts, since_s: float, origin: Origin, budget_s: float) -> Rung:
    name = "users' SLO restored"
    gaps = facts.blind(("probe",), since_s, facts.end_s)
    if gaps:
        return Rung(name, Verdict.UNKNOWN, blind_text(gaps), budget_s=budget_s)
    if all(q.ok for q in users):
        return Rung(name, Verdict.PASS, "users never noticed", budget_s=budget_s)
    restored = slo_restored(users)
    if restored is None:
        return _not_back(name, facts, origin, budget_s)
    took_s, err_s = max(restored.t_s - origin.t_s, 0.0), 0.1 + origin.err_s
    note = f"after {secs(took_s)} (at most {secs(budget_s)})"
    return Rung(name, compare(took_s, err_s, budget_s), note, restored.t_s, took_s, err_s, budget_s)


def slo_restored(users: Sequence[Request]) -> Request | None:
    """The earliest good request after a bad one from which on the error rate stays below the SLO."""
    failed, found = 0, None
    for position in range(len(users) - 1, -1, -1):
        failed += not users[position].ok
        rate_kept = failed <= SLO_ERRORS * (len(users) - position)
        starts_good = users[position].ok and position > 0 and not users[position - 1].ok
        if rate_kept and starts_good:
            found = users[position]
    return found


def _alert(facts: Facts, ctx: Context, since_s: float, origin: Origin, budget_s: float) -> Rung:
    name = "alert resolved"
    fired = [r for r in facts.deliveries("firing") if r.t_s >= since_s and r.data.get("name") != "Watchdog"]
    if not fired:
        return Rung(name, Verdict.PASS, "no alert had reached on-call", budget_s=budget_s)
    ends: list[Record] = []
    for r in fired:
        labels = {str(k): str(v) for k, v in r.data.get("labels", {}).items()}
        over = [x for x in facts.deliveries("resolved", r.data.get("name"), labels) if x.t_s > r.t_s]
        if not over:
            return _not_back(name, facts, origin, budget_s, str(r.data.get("name")))
        ends.append(over[0])
    last = max(ends, key=lambda r: r.t_s)
    took_s, err_s = max(last.t_s - origin.t_s, 0.0), last.err_s + origin.err_s
    note = f"after {secs(took_s)} (at most {secs(budget_s)})"
    return Rung(name, compare(took_s, err_s, budget_s), note, last.t_s, took_s, err_s, budget_s)


def _users(facts: Facts, since_s: float) -> list[Request]:
    return [q for q in facts.probe if since_s <= q.t_s <= facts.end_s]


def _pods(facts: Facts, app: str, since_s: float) -> list[Step]:
    counts = facts.pod_counts(app, survivor)
    usual = max(before(counts, since_s) or 0, 1)
    return [Step(r.t_s, r.err_s, n >= usual, f"{n} of {usual} pods ready") for r, n in counts]


def _deployment(facts: Facts, app: str, since_s: float) -> list[Step]:
    records = facts.deployment(app)
    usual = max((int(r.data.get("desired") or 0) for r in records if r.t_s <= since_s), default=1)
    return [
        Step(
            r.t_s,
            r.err_s,
            int(r.data.get("available") or 0) >= usual,
            f"{r.data.get('available') or 0} of {usual} available",
        )
        for r in records
    ]


def _ends(facts: Facts, app: str, since_s: float) -> list[Step]:
    records = [r for r in facts.history.of("k8s", "endpoints") if r.data.get("service") == app]
    usual = max(next((int(r.data.get("ready") or 0) for r in reversed(records) if r.t_s <= since_s), 1), 1)
    return [
        Step(r.t_s, r.err_s, int(r.data.get("ready") or 0) >= usual, f"{r.data.get('ready') or 0} of {usual}")
        for r in records
    ]


def _gitops(facts: Facts) -> list[Step]:
    """Good only where Argo CD says so *and* the live objects say so."""
    word: Step | None = None
    live: Step | None = None
    steps: list[Step] = []
    for r in facts.history.records:
        if r.source == "argocd" and r.event == "app":
            said = f"{r.data.get('sync')} {r.data.get('health')}"
            word = Step(r.t_s, r.err_s, said == "Synced Healthy", f"Argo CD says {said}")
        elif r.source == "live" and r.event == "diff":
            good = bool(r.data.get("equal")) and bool(r.data.get("healthy"))
            live = Step(
                r.t_s, r.err_s, good, f"live differs: {', '.join(map(str, r.data.get('differing', ()))) or 'unhealthy'}"
            )
        else:
            continue
        if word and live:
            text = "; ".join(s.text for s in (word, live) if not s.good)
            steps.append(Step(r.t_s, r.err_s, word.good and live.good, text))
    return steps
