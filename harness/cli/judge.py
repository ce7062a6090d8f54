"""`harness judge`: judge a stored run again."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="CLAUSE=SECONDS",
    help="Judge that clause with another budget; its text as in the report. May be repeated.",
)
@click.option("--profile", "profile_name", help="Derive the budgets from this profile: fast, reference, stock.")
def command(run_dir: Path, budgets: tuple[str, ...], profile_name: str | None) -> None:
    """Judge the stored histories of RUN_DIR again and save the results; `harness report` then makes the page of them.

    Nothing is run and no cluster is needed. Exit code: 0 all passed, 1 something failed, 2 something is unknown.
    """
    from harness.judge import Verdict, merge
    from harness.report import judge_run
    from harness.stack.rules import alert_infos

    given = _budgets(budgets)
    results = judge_run(run_dir, profile_name=profile_name, budgets=given, known_alerts=alert_infos)
    for result in results:
        click.secho(f"{result.verdict.name:8}{result.scenario}", bold=True)
        for finding in result.findings:
            if finding.verdict is not Verdict.PASS or not finding.implicit:
                click.echo(f"  {finding.verdict.name:8}{finding.clause}: {finding.why}")
    verdict = merge(r.verdict for r in results)
    sys.exit({Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.UNKNOWN: 2}[verdict])


def _budgets(given: tuple[str, ...]) -> dict[str, float]:
    from harness._errors import UsageError

    found = {}
    for text in given:
        clause, _, value = text.rpartition("=")
        try:
            found[clause] = float(value)
        except ValueError:
            clause = ""
        if not clause:
            fix = "--budget 'recovers(\"cartservice\")=20'"
            raise UsageError(f"--budget {text!r} is not CLAUSE=SECONDS", fix=fix)
    return found
