"""`harness report`: write the report of a stored run again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path), required=False)
@click.option(
    "--policy", type=click.Path(path_type=Path), help="The gate's policy [default: gate.toml if it is there]."
)
def command(run_dir: Path | None, policy: Path | None) -> None:
    """Write results.json, junit.xml and report.html of RUN_DIR again (default: the latest run under reports/)."""
    from harness.report import latest_run, load_run, read_policy, write_report

    run = load_run(run_dir or latest_run(Path("reports")))
    chosen = policy or (Path("gate.toml") if Path("gate.toml").exists() else None)
    page = write_report(run.path, run.results, policy=read_policy(chosen) if chosen else None)
    click.echo(page)
