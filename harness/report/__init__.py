"""The report of a run: results.json, junit.xml, the page report.html, the trend store and the gate."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness._clock import CLOCK
from harness._errors import ContractError
from harness.judge import AlertInfo, Context, Profile, ScenarioResult, judge, merge, profile, stored_contract
from harness.report.gate import GateResult, Policy, decide, read_policy
from harness.report.results import (
    Run,
    histories,
    latest_run,
    load_run,
    run_info,
    save_result,
    write_json,
    write_junit,
)

__all__ = [
    "GateResult",
    "Policy",
    "Run",
    "gate_run",
    "judge_run",
    "latest_run",
    "load_run",
    "read_policy",
    "write_report",
]


def write_report(
    run_dir: Path,
    results: Sequence[ScenarioResult],
    info: Mapping[str, Any] | None = None,
    *,
    policy: Policy | None = None,
    store: Path | None = None,
) -> Path:
    """Write results.json, junit.xml, run.json and report.html of a run, and remember it in the trend store.

    Args:
        run_dir: the run; `scenarios/NAME/history.jsonl` hold the histories that the page draws.
        results: what the judge said.
        info: the run as a whole: `run, started_wall_s, ended_wall_s, profile, provider, command, versions{}, absent[{name, why}],
            skipped[{test, why}], broken[{test, why}], calibration[{rung, n, median_s, worst_s, goal_s}],
            dashboards{panels[{dashboard, panel, points, error, ok}], marked, error}`; None: run.json.
        policy: the gate's; None: the page shows no gate decision.
        store: the trend store; None: `history.sqlite` beside the run.

    Returns:
        The page.
    """
    from harness.report import page, trend

    run_dir.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {**run_info(run_dir), **(info or {})}
    (run_dir / "run.json").write_text(json.dumps(facts, indent=1, default=str), encoding="utf-8")
    store = store or run_dir.parent / "history.sqlite"
    found = _recorded(run_dir)
    for name, history in found.items():
        for result in results:
            if result.scenario == history.header.scenario:
                save_result(run_dir, name, result)
    earlier = trend.past(store, facts, limit=policy.last_runs if policy else 10)
    gate = decide(policy, results, facts, earlier, CLOCK.wall()) if policy else None
    write_json(run_dir, results, facts, gate)
    write_junit(run_dir, results, facts)
    trend.remember(store, results, facts, merge(r.verdict for r in results).name)
    by_scenario = {h.header.scenario: h for h in found.values()}
    text = page.render(results, by_scenario, facts, gate, earlier, trend.flakes(store))
    target = run_dir / "report.html"
    draft = target.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(target)
    return target


def judge_run(
    run_dir: Path,
    *,
    profile_name: str | None = None,
    budgets: Mapping[str, float] | None = None,
    known_alerts: Callable[[Profile], Mapping[str, AlertInfo]] | None = None,
) -> tuple[ScenarioResult, ...]:
    """Judge the stored histories of a run again, with another profile or other budgets if asked; saves each result.json.

    Args:
        run_dir: the run.
        profile_name: derive the budgets from this profile instead of the recorded one.
        budgets: budgets by clause text.
        known_alerts: the alerts that exist, under a profile; None: names are not checked.

    Raises:
        HistoryError: the run or a history cannot be read.
        ContractError: a contract cannot be meant, or no clause has the text of a budget.
    """
    found = histories(run_dir)
    wanted = dict(budgets or {})
    texts = {name: {str(c) for c in stored_contract(h)} for name, h in found.items()}
    for text in wanted:
        if not any(text in have for have in texts.values()):
            raise ContractError(f"no clause reads {text}", where=str(run_dir), fix="copy it from the report")
    results = []
    for name, history in found.items():
        ctx = Context.of(history)
        if profile_name:
            ctx = replace(ctx, profile=profile(profile_name))
        if known_alerts:
            infos = known_alerts(profile(ctx.profile.name))
            if not profile_name:  # the recorded `for` of each rule is the one that was in force
                infos = {name: replace(info, for_s=None) for name, info in infos.items()}
            ctx = replace(ctx, known_alerts=infos)
        ctx = replace(ctx, budgets={k: v for k, v in wanted.items() if k in texts[name]})
        result = judge(history, None, ctx)
        save_result(run_dir, name, result)
        results.append(result)
    return tuple(results)


def gate_run(run: Run, policy: Policy, *, store: Path | None = None) -> GateResult:
    """The gate's decision over a run as it was judged."""
    from harness.report import trend

    earlier = trend.past(store or run.path.parent / "history.sqlite", dict(run.info), policy.last_runs)
    return decide(policy, run.results, run.info, earlier, CLOCK.wall())


def _recorded(run_dir: Path) -> dict[str, Any]:
    """The histories that are there; a run may have none (every scenario broke off)."""
    return histories(run_dir) if any(run_dir.glob("scenarios/*/history.jsonl")) else {}
