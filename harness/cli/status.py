"""`harness status`: say what is there and whether it is healthy."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Say for every component whether it is healthy; exit 1 when one is not."""
    from rich.console import Console
    from rich.table import Table

    from harness import provision
    from harness.env import current_env
    from harness.stack.base import StackContext, _health, components

    env = current_env()
    platform = provision.attach(env)
    context = StackContext(env, platform.kube, platform.bundle, platform.cluster, platform.profile, platform.facts)
    table = Table("component", "version", "state", title=f"environment {env.name}, profile {platform.profile.name}")
    bad = 0
    for name, component in components().items():
        version = platform.facts["stack"].get(name, "not installed")
        missing = "" if version.startswith("absent") else _health(component, context)
        state = "[yellow]absent[/]" if version.startswith("absent") else "[green]healthy[/]"
        if missing:
            state, bad = f"[red]{missing}[/]", bad + 1
        table.add_row(name, version, state)
    Console().print(table)
    if bad:
        raise click.exceptions.Exit(1)
