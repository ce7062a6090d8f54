"""`harness attached role [FAULT...]`: what an administrator applies to an existing cluster."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """An existing cluster: what is possible there, and the least rights that it takes."""


@command.command()
@click.argument("faults", nargs=-1)
@click.option("--namespace", "-n", "extra", multiple=True, help="A namespace that does not exist yet.")
def role(faults: tuple[str, ...], extra: tuple[str, ...]) -> None:
    """The account and the least rights for these faults (all that are possible, without any), for `kubectl apply -f -`.

    Rights to change things are given in the namespaces of the allow-list that exist, and in those of --namespace.
    """
    import yaml

    from harness._errors import UsageError
    from harness.cli.faults import find
    from harness.clusters._possible import impossible
    from harness.clusters._possible import role as manifests
    from harness.clusters.attached import opted_in
    from harness.clusters.base import Cluster
    from harness.config import load
    from harness.env import Env
    from harness.faults import catalogue

    config = load()
    wanted = config.attached
    kinds = [find(name) for name in faults] or [k for k in catalogue().values() if not impossible(k, wanted)]
    for reason in filter(None, (impossible(kind, wanted) for kind in kinds)):
        raise UsageError(reason, fix="harness attached possible")
    allowed = Cluster("attached", wanted.kubeconfig, (), namespaces=wanted.namespaces)
    there = [str(n["metadata"]["name"]) for n in opted_in(Env(config.env), wanted).list("Namespace")]
    namespaces = sorted(n for n in {*there, *extra} if allowed.allows(n))
    click.echo(yaml.safe_dump_all(manifests(kinds, namespaces), sort_keys=False), nl=False)


@command.command()
def possible() -> None:
    """Every fault, and why it is not possible with this configuration."""
    from rich.console import Console
    from rich.table import Table

    from harness.clusters._possible import impossible
    from harness.config import load
    from harness.faults import catalogue

    wanted = load().attached
    table = Table("fault", "not possible because", box=None, header_style="bold")
    for name, kind in catalogue().items():
        table.add_row(name, impossible(kind, wanted).partition(": ")[2] or "-")
    Console().print(table)
