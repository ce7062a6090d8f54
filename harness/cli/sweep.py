"""`harness sweep`: find and undo what a killed run left behind."""

from __future__ import annotations

import click


@click.command()
@click.option("--force", is_flag=True, help="Sweep although another run holds the cluster's lease.")
def command(force: bool) -> None:
    """Find and undo what a killed run left behind: by the journal, the dead-men on the nodes, and our labels."""
    import os

    from harness import provision
    from harness.env import current_env
    from harness.faults import sweep
    from harness.faults._context import platform_context
    from harness.faults.lease import run_lease

    platform = provision.attach(current_env())
    ctx = platform_context(platform, run_id=f"sweep-{os.getpid()}")
    if force:
        swept = sweep(ctx)
    else:
        with run_lease(platform.kube, ctx.run_id):
            swept = sweep(ctx)
    for item in swept:
        click.echo(f"undone: {item.fault} {item.id} on {item.where} (found by {item.found_by})")
    click.echo(f"{len(swept)} leftovers undone" if swept else "nothing was left behind")
