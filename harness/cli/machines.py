"""`harness machines`: containers that stand in for machines, to try the provider kubeadm on."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def command() -> None:
    """Debian machines in containers, with systemd and sshd and without Kubernetes."""


@command.command()
@click.option("--control-planes", default=1, show_default=True, help="1, or 3 with a load balancer before them.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 9), help="How many workers.")
@click.option("--write", "file", type=click.Path(path_type=Path), help="The inventory [default: kubeadm.inventory].")
def up(control_planes: int, workers: int, file: Path | None) -> None:
    """Start the machines, and write the inventory that names them."""
    from harness import bundle as bundles
    from harness._progress import showing
    from harness.config import load
    from harness.env import Env
    from harness.platform import machines
    from harness.setup import ensure_machine

    config = load()
    env, target = Env(config.env), file or config.kubeadm.inventory
    with showing() as show:
        ensure_machine(show)
        bundle = bundles.ensure(show=show, source=config.source, only=machines.COMPONENTS)
        machines.up(env, bundle, show, control_planes=control_planes, workers=workers, inventory=target)
    click.echo(f"{control_planes + workers} machines; inventory {target}")
    click.echo("next: harness up --provider kubeadm")


@command.command()
def down() -> None:
    """Remove the machines, with whatever cluster is on them."""
    from harness.env import current_env
    from harness.platform import machines

    machines.down(current_env())
