"""`harness calibrate`: measure our own measuring error on the environment that is up."""

from __future__ import annotations

import click


@click.command()
@click.option("--kills", default=10, show_default=True, type=click.IntRange(1, 100), help="Pod kills to compare.")
def command(kills: int) -> None:
    """Measure how far the recorders are off, against independent observers; reports show it from then on."""
    from rich.console import Console
    from rich.table import Table

    from harness import calibration, provision
    from harness._progress import showing
    from harness.env import current_env

    platform = provision.attach(current_env())
    with showing() as show, show.step("calibration") as step:
        rows = calibration.run(platform, step, kills=kills)
    table = Table("what", "n", "median", "worst", "goal (worst)", title=f"measuring error on {platform.env.name}")
    for row in rows:
        cells = [f"{row[k] * 1000:+.0f} ms" if row[k] is not None else "–" for k in ("median_s", "worst_s")]
        table.add_row(row["rung"], str(row["n"]), *cells, f"{row['goal_s'] * 1000:.0f} ms")
    Console().print(table)
