"""`harness gate`: may this run ship?"""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path), required=False)
@click.option(
    "--policy", type=click.Path(path_type=Path), default=Path("gate.toml"), show_default=True, help="The policy file."
)
def command(run_dir: Path | None, policy: Path) -> None:
    """Say whether RUN_DIR (default: the latest run under reports/) may ship, and why.

    Exit code: 0 ship, 1 do not ship, 2 cannot tell (also for a run or a policy that cannot be read).
    """
    from harness._errors import HarnessError
    from harness.report import gate_run, latest_run, load_run, read_policy

    try:
        run = load_run(run_dir or latest_run(Path("reports")))
        result = gate_run(run, read_policy(policy))
    except HarnessError as err:
        click.echo(f"Cannot tell: {err}", err=True)
        sys.exit(2)
    click.secho(f"{result.decision} ({run.path.name})", bold=True, fg=("green", "red", "yellow")[result.decision])
    for reason in result.reasons:
        click.echo(f"  {('ok', 'NO', '??')[reason.decision]}  {reason.text}")
    sys.exit(result.decision)
