"""`harness up`: make the cluster with the whole platform, or reuse it."""

from __future__ import annotations

import click


@click.command()
@click.option("--profile", default="fast", show_default=True, help="Timing of detection: fast, reference or stock.")
@click.option("--source", type=click.Choice(["auto", "pull", "build"]), default="auto", show_default=True)
def command(profile: str, source: str) -> None:
    """Make the cluster with the whole platform, or reuse what is there."""
    from harness import provision
    from harness._progress import showing
    from harness.env import current_env

    env = current_env()
    with showing() as show:
        provision.up(env, show, profile_name=profile, source=source)
    click.echo(f"environment {env.name} is up; KUBECONFIG={env.kubeconfig}")
