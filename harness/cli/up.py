"""`harness up`: make the cluster with the whole platform, or reuse it."""

from __future__ import annotations

import click

from harness.cli import set_variables


@click.command()
@click.option("--provider", help="Where the cluster comes from: kind, kubeadm or attached.")
@click.option("--profile", help="Timing of detection: fast, reference or stock.")
@click.option("--source", help="Where images come from: auto, pull or build.")
def command(provider: str | None, profile: str | None, source: str | None) -> None:
    """Make the cluster with the whole platform, or reuse what is there.

    What is not given is taken from the variables HARNESS_... and from harness.toml.
    """
    from harness import provision
    from harness._progress import showing
    from harness.config import load
    from harness.env import Env

    set_variables(HARNESS_PROVIDER=provider, HARNESS_PROFILE=profile, HARNESS_SOURCE=source)
    config = load()
    env = Env(config.env)
    with showing() as show:
        platform = provision.up(env, show, config)
    click.echo(f"environment {env.name} is up; KUBECONFIG={platform.cluster.kubeconfig}")
