"""Judging: a pure step from a recorded history to a verdict, which can be repeated on a stored run.

The words of a contract, as scenarios write them:

    must_fire("CartServiceDown"), must_resolve("CartServiceDown"), must_not_fire("FrontendDown"),
    nothing_else_fires(), heals("Deployment", "cartservice"), recovers("cartservice"),
    users(phase="fault", errors_below=0.05), no_outage(), outage_seen(at_least_s=1),
    released("v2"), rolled_back(), log_contains("..."), log_never("panic"), may_be_blind("log"), untouched(),
    watchdog_silent(), stays_below("memory", 64e6, app="cartservice")

Budgets come from the profile; `within_s` is for the rare clause that must be tighter or wider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.history import History
from harness.judge.alerts import MustFire, MustNotFire, MustResolve, NothingElseFires
from harness.judge.contract import (
    AlertInfo,
    Clause,
    Context,
    contract_from_json,
    stored_contract,
    target_name,
    validate,
)
from harness.judge.facts import Facts, Phase
from harness.judge.figures import Figure, Stat, aggregate, figures
from harness.judge.gitops import Heals, Released, RolledBack
from harness.judge.integrity import (
    IMPLICIT,
    MayBeBlind,
    SourcesSaw,
    Untouched,
    fault_doubt,
    record_doubt,
)
from harness.judge.metrics import StaysBelow
from harness.judge.profiles import PROFILES, Profile, profile
from harness.judge.recovery import Recovers
from harness.judge.users import LogContains, LogNever, NoOutage, OutageSeen, Users, stats, within
from harness.judge.verdict import Evidence, Finding, Rung, Verdict, merge
from harness.judge.watchdog import WatchdogSilent

__all__ = [
    "PROFILES",
    "AlertInfo",
    "Clause",
    "Context",
    "Evidence",
    "Facts",
    "Figure",
    "Finding",
    "Profile",
    "Rung",
    "ScenarioResult",
    "Stat",
    "Verdict",
    "aggregate",
    "contract_from_json",
    "heals",
    "judge",
    "log_contains",
    "log_never",
    "may_be_blind",
    "merge",
    "must_fire",
    "must_not_fire",
    "must_resolve",
    "no_outage",
    "nothing_else_fires",
    "outage_seen",
    "profile",
    "recovers",
    "released",
    "rolled_back",
    "stays_below",
    "stored_contract",
    "untouched",
    "users",
    "validate",
    "watchdog_silent",
]


def must_fire(alert: str, labels: Mapping[str, str] | None = None, *, within_s: float | None = None) -> Clause:
    """The alert reaches on-call, within the profile's detection bound."""
    return MustFire(alert, dict(labels or {}), within_s)


def must_resolve(alert: str, *, within_s: float | None = None) -> Clause:
    """On-call hears that the alert is over."""
    return MustResolve(alert, within_s)


def must_not_fire(alert: str) -> Clause:
    """The alert stays silent (pending is allowed)."""
    return MustNotFire(alert)


def nothing_else_fires(*, allow: Sequence[str] = ()) -> Clause:
    """No alert but those that other clauses name, and those allowed here."""
    return NothingElseFires(tuple(allow))


def heals(kind: str, name: object, *, within_s: float | None = None) -> Clause:
    """The drift of that object is undone: the live object equals Git and is healthy."""
    return Heals(kind, target_name(name), within_s)


def recovers(app: object, *, within_s: float | None = None) -> Clause:
    """The app is seen going down and coming back, rung by rung."""
    return Recovers(target_name(app), within_s)


def users(
    *,
    phase: str = "",
    after: str = "",
    errors_below: float | None = None,
    p95_below_s: float | None = None,
    longest_outage_below_s: float | None = None,
) -> Clause:
    """What users may feel in a phase, or after="recovery"."""
    return Users(phase, after, errors_below, p95_below_s, longest_outage_below_s)


def no_outage(*, tolerate_s: float = 0.0) -> Clause:
    """Users feel no outage."""
    return NoOutage(tolerate_s)


def outage_seen(*, at_least_s: float = 0.0, within_s: float | None = None) -> Clause:
    """Users do feel an outage, as this overlay must expect."""
    return OutageSeen(at_least_s, within_s)


def released(version: str, *, within_s: float | None = None) -> Clause:
    """The pushed version serves users from Ready pods only."""
    return Released(version, within_s)


def rolled_back(*, within_s: float | None = None) -> Clause:
    """The revert brought the old revision back everywhere and users are served."""
    return RolledBack(within_s)


def log_contains(text: str, *, app: object = "") -> Clause:
    """A log line with that text reaches Loki."""
    return LogContains(text, target_name(app))


def log_never(text: str, *, app: object = "") -> Clause:
    """No log line has that text."""
    return LogNever(text, target_name(app))


def stays_below(metric: str, limit: float, *, app: object = "", phase: str = "") -> Clause:
    """The metric (`cpu`, `memory`, `restarts`, `requests`, `node-cpu`) stays below the limit."""
    return StaysBelow(metric, limit, target_name(app), phase)


def may_be_blind(*names: str) -> Clause:
    """The story blinds these sources itself: `prom`, `alertmanager`, `receiver`, `argocd`, `live`, `log`, `k8s`, `probe`."""
    return MayBeBlind(names)


def watchdog_silent() -> Clause:
    """The fault takes the alerting itself away, and on-call notices by the Watchdog's silence."""
    return WatchdogSilent()


def untouched() -> Clause:
    """The story does nothing to the system; it only looks."""
    return Untouched()


@dataclass(frozen=True)
class ScenarioResult:
    """What came of one scenario.

    Args:
        scenario: its name.
        verdict: of the whole.
        findings: one for each clause, those that every contract has last.
        figures: what was measured.
        phases: of the story.
        users: error rate and latencies by phase.
        about: title, test, namespace, overlay, profile, mechanisms, image path.
        duration_s: of the recorded story.
    """

    scenario: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    figures: tuple[Figure, ...]
    phases: tuple[Phase, ...]
    users: Mapping[str, Mapping[str, Any]]
    about: Mapping[str, Any]
    duration_s: float

    @property
    def why(self) -> str:
        """The sentence that decides the verdict."""
        return next((f.why for f in self.findings if f.verdict is self.verdict), "nothing was judged")

    def to_json(self) -> dict[str, Any]:
        """As plain data for result.json and results.json."""
        return {
            "scenario": self.scenario,
            "verdict": self.verdict.name,
            "why": self.why,
            "findings": [f.to_json() for f in self.findings],
            "figures": [f.to_json() for f in self.figures],
            "phases": [asdict(p) for p in self.phases],
            "users": {k: dict(v) for k, v in self.users.items()},
            "about": dict(self.about),
            "duration_s": round(self.duration_s, 3),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScenarioResult:
        """Read back what `to_json` wrote."""
        return cls(
            data["scenario"],
            Verdict[data["verdict"]],
            tuple(Finding.from_json(f) for f in data["findings"]),
            tuple(Figure(**f) for f in data["figures"]),
            tuple(Phase(**p) for p in data["phases"]),
            data["users"],
            data["about"],
            float(data["duration_s"]),
        )


def judge(history: History, clauses: Sequence[Clause] | None = None, ctx: Context | None = None) -> ScenarioResult:
    """Judge a history.

    Args:
        history: the record.
        clauses: the contract; None: the one stored in the history.
        ctx: profile, known alerts, budgets; None: what the history says itself.

    Raises:
        ContractError: the contract cannot be meant.
    """
    ctx = (ctx or Context.of(history)).with_rules()
    contract = tuple(clauses) if clauses is not None else stored_contract(history)
    validate(contract, ctx)
    facts = Facts(history)
    doubt = record_doubt(facts) or _fault_in_doubt(contract, facts)
    findings = [_check(c, facts, ctx, doubt) for c in _completed(contract)]
    if not contract:
        findings.append(Finding("contract", Verdict.UNKNOWN, "the contract is empty: nothing was asked", implicit=True))
    phases = facts.phases
    felt = {p.name: asdict(stats(within((*facts.probe, *facts.load), p.start_s, p.end_s))) for p in phases}
    return ScenarioResult(
        scenario=history.header.scenario,
        verdict=merge(f.verdict for f in findings),
        findings=tuple(findings),
        figures=() if doubt else figures(facts, ctx),
        phases=phases,
        users=felt,
        about=_about(facts),
        duration_s=facts.end_s,
    )


def _completed(contract: Sequence[Clause]) -> list[Clause]:
    """The contract with the clauses that every contract has."""
    named = tuple(sorted({c.alert for c in contract if isinstance(c, MustFire | MustResolve)}))
    blind = tuple(n for c in contract if isinstance(c, MayBeBlind) for n in c.names)
    blind += ("watchdog",) if any(isinstance(c, WatchdogSilent) for c in contract) else ()
    needed = tuple(dict.fromkeys(s for c in contract for s in c.sources()))
    own = [replace(c, named=named) if isinstance(c, NothingElseFires) else c for c in contract]
    quiet = any(isinstance(c, Untouched) for c in contract)
    implicit = [kind() for kind in IMPLICIT if not (quiet and kind.word == "fault_proven")]
    return [*own, *implicit, SourcesSaw(needed, blind)]


def _fault_in_doubt(contract: Sequence[Clause], facts: Facts) -> str:
    """Why nothing can be concluded from what followed; empty when it can."""
    return "" if any(isinstance(c, Untouched) for c in contract) else fault_doubt(facts)


def _check(c: Clause, facts: Facts, ctx: Context, doubt: str) -> Finding:
    """One finding; doubts about the record or the fault, and a check that breaks, make it UNKNOWN."""
    if doubt and not c.implicit:
        return Finding(str(c), Verdict.UNKNOWN, doubt)
    try:
        return c.check(facts, ctx)
    except Exception as err:  # noqa: BLE001 - a broken check is no verdict, and must say so
        return Finding(
            str(c), Verdict.UNKNOWN, f"the check itself broke: {type(err).__name__}: {err}", implicit=c.implicit
        )


def _about(facts: Facts) -> dict[str, Any]:
    known = ("title", "test", "namespace", "app", "overlay", "profile", "image_path")
    about = {k: facts.start[k] for k in known if k in facts.start}
    faults = list(facts.history.of("fault", "injected"))
    about["faults"] = sorted({str(r.data.get("fault")) for r in faults})
    about["mechanisms"] = sorted({str(r.data.get("mechanism")) for r in faults if r.data.get("mechanism")})
    cost = facts.history.last("story", "cost")
    waited = facts.history.last("story", "phase", name="end")
    if cost is not None:
        about["cost"] = {**cost.data, "after_last_wait_s": round(cost.t_s - waited.t_s, 2) if waited else None}
    about["blast_radius"] = list(facts.blast_radius)
    about["run"] = facts.history.header.run
    about["start_wall_s"] = facts.history.header.start_wall_s
    return about
