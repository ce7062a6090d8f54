"""The gate: every clause of a policy forbids, doubts or lets pass as it should, and a bad policy names its line."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import histories as h
import pytest

from harness._errors import ContractError
from harness.judge import PROFILES, Context, ScenarioResult, Verdict, judge, must_fire, recovers
from harness.report.gate import Decision, Policy, Quarantined, decide, read_policy
from harness.report.trend import Past

NOW_S = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
TODAY = datetime(2026, 11, 23, tzinfo=UTC).date()


@cache
def good() -> ScenarioResult:
    ctx = Context(PROFILES["fast"], h.KNOWN)
    return judge(h.cart_kept_down(), [must_fire("CartServiceDown"), recovers("cartservice")], ctx)


def bad(verdict: Verdict) -> ScenarioResult:
    return replace(good(), scenario=f"a-{verdict.name}", verdict=verdict, figures=())


def decision(policy: Policy, *results: ScenarioResult, earlier: list[float] | None = None, **info: object) -> Decision:
    past = [Past(f"r{n}", n, 1, v, v, 0.1) for n, v in enumerate(earlier or ())]
    return decide(policy, results, info, {"time_to_detect": past}, NOW_S).decision


@pytest.mark.parametrize(
    ("policy", "verdicts", "expected"),
    [
        (Policy(), [], Decision.SHIP),
        (Policy(), [Verdict.FAIL], Decision.DO_NOT_SHIP),
        (Policy(), [Verdict.UNKNOWN], Decision.CANNOT_TELL),
        (Policy(), [Verdict.UNKNOWN, Verdict.FAIL], Decision.DO_NOT_SHIP),
        (Policy(no_fail=False), [Verdict.FAIL], Decision.SHIP),
        (Policy(no_unknown=False), [Verdict.UNKNOWN], Decision.SHIP),
        (Policy(min_scenarios=2), [], Decision.CANNOT_TELL),
        (Policy(p95_s={"time_to_detect": 60}), [], Decision.SHIP),
        (Policy(p95_s={"time_to_detect": 20}), [], Decision.DO_NOT_SHIP),
        (Policy(p95_s={"rollback_time": 20}), [], Decision.CANNOT_TELL),
    ],
)
def test_clauses(policy: Policy, verdicts: list[Verdict], expected: Decision) -> None:
    assert decision(policy, good(), *(bad(v) for v in verdicts)) is expected


def test_an_empty_run_cannot_tell() -> None:
    assert decision(Policy()) is Decision.CANNOT_TELL
    assert decision(Policy(min_scenarios=0)) is Decision.CANNOT_TELL


def test_scenarios_without_a_verdict_are_not_forgotten() -> None:
    assert decision(Policy(), good(), broken=[{"test": "x", "why": "y"}]) is Decision.CANNOT_TELL
    assert decision(Policy(), good(), skipped=[{"test": "x", "why": "y"}]) is Decision.SHIP
    assert decision(Policy(no_skipped=True), good(), skipped=[{"test": "x", "why": "y"}]) is Decision.CANNOT_TELL


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([15.0] * 5, Decision.DO_NOT_SHIP),  # 23 s now: 53 % slower
        ([20.0] * 5, Decision.SHIP),  # 15 %
        ([19.1] * 5, Decision.SHIP),  # 20.4 %, within the measuring error
        ([15.0, 15.0, 15.0, 15.0, 24.0], Decision.SHIP),  # it has been as slow before
        ([15.0] * 4, Decision.SHIP),  # too few runs to say
        ([], Decision.SHIP),
    ],
)
def test_regression(earlier: list[float], expected: Decision) -> None:
    assert decision(Policy(regression_percent=20), good(), earlier=earlier) is expected


def test_quarantine_excuses_until_its_date_and_then_forbids() -> None:
    failed = bad(Verdict.FAIL)
    excused = Policy(quarantine=(Quarantined(failed.scenario, "being looked at", TODAY),))
    assert decision(excused, good(), failed) is Decision.SHIP
    over = Policy(quarantine=(Quarantined("gone", "being looked at", TODAY.replace(day=22)),))
    result = decide(over, [good()], {}, {}, NOW_S)
    assert result.decision is Decision.DO_NOT_SHIP
    assert "ran out on 2026-11-22" in result.reasons[0].text
    assert decision(excused, failed) is Decision.CANNOT_TELL, "nothing that counts is left"


def test_the_decision_is_the_exit_code() -> None:
    assert [int(d) for d in (Decision.SHIP, Decision.DO_NOT_SHIP, Decision.CANNOT_TELL)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[gate]\nno_fail = yes\n", 2, "not TOML"),
        ("[gate]\n\nno_fial = true\n", 3, "no such setting: no_fial"),
        ("[gate]\nno_fail = 1\n", 2, "must be true or false"),
        ("# x\n[p95_s]\ntime_to_detect = '60 s'\n", 3, "must be a number"),
        ("[p95_s]\n# mttd\nmttd = 60\n", 3, "no such setting: mttd"),
        ("[regression]\npercent = -1\n", 2, "at least 0"),
        ("[[quarantine]]\nscenario = 'x'\nreason = 'y'\n", 2, "needs an expiry"),
        ("[[quarantine]]\nscenario = 'x'\nuntil = 2026-01-01\n", 2, "needs a reason"),
        ("quarantine = 3\n", 1, "must be a list"),
        ("gate = 3\n", 1, "must be a table"),
        ("[gate\n", 1, "not TOML"),
    ],
)
def test_a_malformed_policy_names_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(ContractError, match=words) as caught:
        read_policy(path)
    assert caught.value.where == f"{path}:{line}"


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="cannot read the policy"):
        read_policy(tmp_path / "none.toml")


def test_the_policy_of_this_repository_is_good() -> None:
    policy = read_policy(Path(__file__).parents[2] / "gate.toml")
    assert (policy.no_fail, policy.no_unknown, policy.p95_s["time_to_detect"]) == (True, True, 60)
