"""`harness status`: say what is there and whether it is healthy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.provision import Platform


@click.command()
def command() -> None:
    """Say for every component whether it is healthy; exit 1 when one is not."""
    from rich.console import Console
    from rich.table import Table

    from harness import provision
    from harness.env import current_env

    env = current_env()
    platform = provision.attach(env)
    missing = _attached(platform) if platform.cluster.provider == "attached" else _installed(platform)
    table = Table("component", "version", "state", title=f"environment {env.name}, profile {platform.profile.name}")
    bad = 0
    for name, what in missing.items():
        version = platform.facts["stack"].get(name, "not installed")
        state = "[yellow]absent[/]" if version.startswith("absent") else "[green]healthy[/]"
        if what:
            state, bad = f"[red]{what}[/]", bad + 1
        table.add_row(name, version, state)
    Console().print(table)
    if bad:
        raise click.exceptions.Exit(1)


def _installed(platform: Platform) -> dict[str, str]:
    """What every component that we installed lacks; empty for a healthy or an absent one."""
    from harness.stack.base import StackContext, _health, components

    env, facts = platform.env, platform.facts
    context = StackContext(env, platform.kube, platform.bundle, platform.cluster, platform.profile, facts)
    absent = {name for name, version in facts["stack"].items() if version.startswith("absent")}
    return {name: "" if name in absent else _health(component, context) for name, component in components().items()}


def _attached(platform: Platform) -> dict[str, str]:
    """The same for what was found in a cluster that exists."""
    from harness.clusters._discover import COMPONENTS
    from harness.stack._monitoring import answers

    urls = {known: platform.url(known.key) for known in COMPONENTS}
    return {known.key: answers(url + known.ready) if url else "" for known, url in urls.items()}
