"""`harness bundle`: build, pull or inspect the images and manifests."""

from __future__ import annotations

import click


@click.group(name="bundle")
def command() -> None:
    """Build, pull or inspect the images and manifests of every component."""


def _ensure(source: str, only: tuple[str, ...], upstream: str, keep_caches: bool | None) -> None:
    from harness import bundle
    from harness._progress import showing
    from harness.setup import ensure_machine

    with showing() as show:
        ensure_machine(show)
        made = bundle.ensure(show=show, source=source, only=only or None, upstream=upstream, keep_caches=keep_caches)
    click.echo(f"bundle: {len(made.specs)} components ready")


_only = click.argument("components", nargs=-1)
_caches = click.option(
    "--keep-caches/--prune-caches",
    default=None,
    help="Keep the compiler's caches (also HARNESS_KEEP_CACHES=1); they go when everything is made otherwise.",
)


@command.command()
@_only
@_caches
def build(components: tuple[str, ...], keep_caches: bool | None) -> None:
    """Make what is missing from source packages: Go modules and Debian packages."""
    _ensure("build", components, "", keep_caches)


@command.command()
@_only
@click.option("--upstream", default="", metavar="HOST:PORT", help="A registry that stands in for all upstream hosts.")
@_caches
def pull(components: tuple[str, ...], upstream: str, keep_caches: bool | None) -> None:
    """Make what is missing by pulling upstream's images; digests are recorded and checked ever after."""
    _ensure("pull", components, upstream, keep_caches)


@command.command()
def status() -> None:
    """Say for every component what is there and where it came from."""
    from rich.console import Console
    from rich.table import Table

    from harness.bundle.lock import read_lock
    from harness.bundle.store import missing, stamp

    specs = read_lock()
    absent = {s.name for s in missing(specs.values())}
    table = Table("component", "version", "state", "origin", "made in")
    for name, spec in specs.items():
        mark = stamp(name)
        state = "[red]missing[/]" if name in absent else "[green]ready[/]"
        if name in absent and mark:
            state = f"[red]failed[/]: {mark['why'][:60]}" if "failed" in mark else "[yellow]outdated[/]"
        took = f"{mark['took_s']:.0f} s" if "took_s" in mark else ""
        table.add_row(name, spec.version, state, mark.get("origin", ""), took)
    Console().print(table)
    if any(not specs[name].optional for name in absent):
        raise click.exceptions.Exit(1)


@command.command()
@click.option("--caches-only", is_flag=True, help="Remove only the compiler's caches.")
def clean(caches_only: bool) -> None:
    """Remove the bundle and its caches."""
    from harness import bundle

    if caches_only:
        bundle.prune()
    else:
        bundle.clean()
