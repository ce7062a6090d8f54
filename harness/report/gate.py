"""The gate: a policy over a run's results (and earlier runs') that says ship, do not ship, or cannot tell, and why."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import IntEnum
from pathlib import Path
from statistics import median
from typing import Any

from harness._errors import ContractError
from harness.judge import ScenarioResult, Verdict, aggregate
from harness.judge.figures import TITLES
from harness.judge.verdict import secs
from harness.report.trend import Past


class Decision(IntEnum):
    """What the gate says; the value is the exit code."""

    SHIP = 0
    DO_NOT_SHIP = 1
    CANNOT_TELL = 2

    def __str__(self) -> str:
        return {0: "Ship", 1: "Do not ship", 2: "Cannot tell"}[self.value]


@dataclass(frozen=True)
class Quarantined:
    """A scenario whose verdict does not count until a date."""

    scenario: str
    reason: str
    until: date


@dataclass(frozen=True)
class Policy:
    """What a run must be like to ship; read from gate.toml."""

    no_fail: bool = True
    no_unknown: bool = True
    no_skipped: bool = False
    min_scenarios: int = 1
    regression_percent: float | None = None
    last_runs: int = 10
    min_runs: int = 5
    p95_s: Mapping[str, float] = field(default_factory=dict)
    quarantine: tuple[Quarantined, ...] = ()


@dataclass(frozen=True)
class Reason:
    """What one clause of the policy says."""

    decision: Decision
    text: str


@dataclass(frozen=True)
class GateResult:
    """The decision, and every clause's reason."""

    decision: Decision
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        reasons = [{"decision": r.decision.name, "text": r.text} for r in self.reasons]
        return {"decision": self.decision.name, "reasons": reasons}


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        ContractError: not there, or malformed; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as err:
        raise ContractError("cannot read the policy", where=str(path), last=err) from err
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        line = re.search(r"line (\d+)", str(err))
        where = f"{path}:{line.group(1) if line else len(text.splitlines())}"
        raise ContractError(f"the policy is not TOML: {err}", where=where) from err
    return _Reader(path, text).policy(data)


class _Reader:
    """Checks a policy's values; its errors name the line."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._lines = path, text.splitlines()

    def policy(self, data: dict[str, Any]) -> Policy:
        """The policy of the parsed file."""
        self._only(data, {"gate", "p95_s", "regression", "quarantine"})
        gate, regression = self._table(data, "gate"), self._table(data, "regression")
        self._only(gate, {"no_fail", "no_unknown", "no_skipped", "min_scenarios"})
        self._only(regression, {"percent", "last_runs", "min_runs"})
        limits = self._table(data, "p95_s")
        self._only(limits, set(TITLES))
        return Policy(
            no_fail=self._flag(gate, "no_fail", True),
            no_unknown=self._flag(gate, "no_unknown", True),
            no_skipped=self._flag(gate, "no_skipped", False),
            min_scenarios=int(self._number(gate, "min_scenarios", 1)),
            regression_percent=self._number(regression, "percent", 0) if regression else None,
            last_runs=int(self._number(regression, "last_runs", 10)),
            min_runs=int(self._number(regression, "min_runs", 5)),
            p95_s={k: self._number(limits, k, 0) for k in limits},
            quarantine=tuple(self._quarantine(data)),
        )

    def _quarantine(self, data: dict[str, Any]) -> list[Quarantined]:
        entries = data.get("quarantine", [])
        if not isinstance(entries, list):
            raise self._error("quarantine", "must be a list: [[quarantine]]")
        found = []
        for entry in entries:
            self._only(entry, {"scenario", "reason", "until"})
            name, until = entry.get("scenario"), entry.get("until")
            if not isinstance(name, str) or not name:
                raise self._error("quarantine", "each entry needs a scenario")
            if not isinstance(entry.get("reason"), str) or not entry["reason"]:
                raise self._error(name, f"quarantine of {name} needs a reason")
            if type(until) is not date:
                raise self._error(name, f"quarantine of {name} needs an expiry: until = 2026-12-31")
            found.append(Quarantined(name, entry["reason"], until))
        return found

    def _table(self, data: dict[str, Any], key: str) -> dict[str, Any]:
        value = data.get(key, {})
        if not isinstance(value, dict):
            raise self._error(key, f"{key} must be a table: [{key}]")
        return value

    def _flag(self, table: dict[str, Any], key: str, default: bool) -> bool:
        value = table.get(key, default)
        if not isinstance(value, bool):
            raise self._error(key, f"{key} must be true or false, not {value!r}")
        return value

    def _number(self, table: dict[str, Any], key: str, default: float) -> float:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise self._error(key, f"{key} must be a number of at least 0, not {value!r}")
        return float(value)

    def _only(self, table: dict[str, Any], known: set[str]) -> None:
        for key in table:
            if key not in known:
                raise self._error(key, f"no such setting: {key}", f"one of {', '.join(sorted(known))}")

    def _error(self, key: str, what: str, fix: str = "") -> ContractError:
        number = next((n for n, line in enumerate(self._lines, 1) if key in line.split("#")[0]), 1)
        return ContractError(f"policy: {what}", where=f"{self._path}:{number}", fix=fix)


def decide(
    policy: Policy,
    results: Sequence[ScenarioResult],
    info: Mapping[str, Any],
    earlier: Mapping[str, Sequence[Past]],
    now_wall_s: float,
) -> GateResult:
    """Apply the policy. Any clause that forbids shipping wins, then any that cannot tell."""
    today = datetime.fromtimestamp(now_wall_s, UTC).date()
    reasons: list[Reason] = []
    excused = {q.scenario for q in policy.quarantine if q.until >= today}
    reasons += _quarantine(policy, today, results)
    counted = [r for r in results if r.scenario not in excused]
    reasons += _verdicts(policy, counted)
    broken = list(info.get("broken") or ())
    if broken:
        names = ", ".join(str(b.get("test")) for b in broken[:5])
        reasons.append(Reason(Decision.CANNOT_TELL, f"{_many(broken)} broken off without a history: {names}"))
    skipped = list(info.get("skipped") or ())
    if skipped:
        verdict = Decision.CANNOT_TELL if policy.no_skipped else Decision.SHIP
        reasons.append(Reason(verdict, f"{_many(skipped)} skipped"))
    reasons += _limits(policy, counted)
    reasons += _regressions(policy, counted, earlier)
    forbids = [r for r in reasons if r.decision is Decision.DO_NOT_SHIP]
    doubts = [r for r in reasons if r.decision is Decision.CANNOT_TELL]
    decision = Decision.DO_NOT_SHIP if forbids else Decision.CANNOT_TELL if doubts else Decision.SHIP
    return GateResult(decision, tuple(sorted(reasons, key=lambda r: (r.decision is not decision, -r.decision))))


def _many(items: Sequence[object]) -> str:
    return "1 scenario was" if len(items) == 1 else f"{len(items)} scenarios were"


def _quarantine(policy: Policy, today: date, results: Sequence[ScenarioResult]) -> list[Reason]:
    found = []
    ran = {r.scenario: r for r in results}
    for q in policy.quarantine:
        if q.until < today:
            text = f"the quarantine of {q.scenario} ran out on {q.until}: repair it or decide again ({q.reason})"
            found.append(Reason(Decision.DO_NOT_SHIP, text))
        elif q.scenario in ran:
            text = (
                f"{q.scenario} is in quarantine until {q.until} and not counted ({ran[q.scenario].verdict}; {q.reason})"
            )
            found.append(Reason(Decision.SHIP, text))
    return found


def _verdicts(policy: Policy, results: Sequence[ScenarioResult]) -> list[Reason]:
    found = []
    if len(results) < max(policy.min_scenarios, 1):
        text = f"{len(results)} scenarios count, the policy wants at least {max(policy.min_scenarios, 1)}"
        found.append(Reason(Decision.CANNOT_TELL, text))
    failed = [r for r in results if r.verdict is Verdict.FAIL]
    unknown = [r for r in results if r.verdict is Verdict.UNKNOWN]
    if policy.no_fail:
        found += [Reason(Decision.DO_NOT_SHIP, f"{r.scenario} failed: {r.why}") for r in failed]
    if policy.no_unknown:
        found += [Reason(Decision.CANNOT_TELL, f"{r.scenario} is unknown: {r.why}") for r in unknown]
    if results and not failed and not unknown:
        found.append(Reason(Decision.SHIP, f"all {len(results)} scenarios passed"))
    return found


def _limits(policy: Policy, results: Sequence[ScenarioResult]) -> list[Reason]:
    stats = aggregate(f for r in results for f in r.figures)
    found = []
    for name, limit_s in policy.p95_s.items():
        stat, title = stats.get(name), TITLES[name]
        if stat is None:
            found.append(Reason(Decision.CANNOT_TELL, f"{title}: the policy limits it, but nothing measured it"))
        elif stat.p95_s > limit_s:
            text = f"{title}: p95 {secs(stat.p95_s)} is over the limit of {secs(limit_s)} (n={stat.n})"
            found.append(Reason(Decision.DO_NOT_SHIP, text))
        else:
            text = f"{title}: p95 {secs(stat.p95_s)} keeps the limit of {secs(limit_s)} (n={stat.n})"
            found.append(Reason(Decision.SHIP, text))
    return found


def _regressions(
    policy: Policy, results: Sequence[ScenarioResult], earlier: Mapping[str, Sequence[Past]]
) -> list[Reason]:
    if policy.regression_percent is None:
        return []
    found = []
    for name, stat in aggregate(f for r in results for f in r.figures).items():
        runs = list(earlier.get(name, ()))[-policy.last_runs :]
        if len(runs) < max(policy.min_runs, 1):
            continue
        usual_s = median(p.median_s for p in runs)
        limit_s = usual_s * (1 + policy.regression_percent / 100)
        # A change that the measuring error or the earlier runs' own spread could explain is no regression.
        surely_s = stat.median_s - stat.err_s - max(p.err_s for p in runs)
        if surely_s > limit_s and surely_s > max(p.median_s for p in runs):
            text = (
                f"{TITLES.get(name, name)}: median {secs(stat.median_s)} against {secs(usual_s)} over the last "
                f"{len(runs)} runs, more than {policy.regression_percent:g} % slower"
            )
            found.append(Reason(Decision.DO_NOT_SHIP, text))
    if not found:
        most = max((len(v) for v in earlier.values()), default=0)
        enough = most >= policy.min_runs
        few = f"no regression check yet: {most} earlier runs, it needs {policy.min_runs}"
        text = f"no regression against the last {most} runs" if enough else few
        found.append(Reason(Decision.SHIP, text))
    return found
