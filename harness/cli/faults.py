"""`harness faults list | describe NAME | run NAME --set field=value --for 30s | reference`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.faults import Fault

EXAMPLES = """\b
Examples:
  harness faults run pod.kill --set target=boutique-a/cartservice
  harness faults run network.loss --set target=boutique-a/cartservice \\
      --set source=boutique-a/frontend --set loss_pct=50 --for 1m
"""


@click.group()
def command() -> None:
    """List, describe and run faults."""


@command.command("list")
def list_() -> None:
    """Every fault, and what it does."""
    from rich.console import Console
    from rich.table import Table

    from harness.faults import catalogue

    table = Table("fault", "what it does", "undo", box=None, header_style="bold")
    for name, kind in catalogue().items():
        table.add_row(name, first_sentence(kind), "heals by itself" if kind.one_shot else "dead-man")
    Console().print(table)


@command.command()
@click.argument("name")
def describe(name: str) -> None:
    """What a fault takes, how it is proven, how long it may last."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(describe_markdown(find(name))))


@command.command(epilog=EXAMPLES)
@click.argument("name")
@click.option(
    "--set",
    "fields_",
    multiple=True,
    metavar="FIELD=VALUE",
    help="A field of the fault; a workload is NAMESPACE/NAME, an object KIND/NAMESPACE/NAME.",
)
@click.option("--for", "hold", default="10s", show_default=True, help="How long to hold it, such as 30s or 2m.")
def run(name: str, fields_: tuple[str, ...], hold: str) -> None:
    """Inject a fault, prove it, hold it, revert it, prove that it is gone, and look for residue.

    Ctrl-C and SIGTERM end it early and revert it. After a SIGKILL it heals by itself, or at once by `harness sweep`.
    """
    import os
    import signal

    from rich.console import Console

    from harness import provision
    from harness._clock import CLOCK
    from harness._errors import UsageError
    from harness.env import current_env
    from harness.faults import injected
    from harness.faults._context import platform_context
    from harness.faults.lease import run_lease

    hold_s = seconds(hold)
    fault = make(find(name), fields_)
    if hold_s > fault.max_s:
        raise UsageError(
            f"{name} cannot be held for {hold_s:g} s: it may last {fault.max_s:g} s",
            fix=f"--set max_s={hold_s:g} (at most {fault.limit_s:g})",
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    platform = provision.attach(current_env())
    ctx = platform_context(platform, run_id=f"cli-{os.getpid()}")
    out = Console()
    with run_lease(platform.kube, ctx.run_id):
        started_s = CLOCK.monotonic()
        with injected(fault, ctx) as active:
            out.print(f"[bold red]{name}[/] is on: {active.target} ({active.aim.mechanism})")
            out.print(f"proven in {CLOCK.monotonic() - started_s:.2f} s:", active.proof)
            CLOCK.sleep(hold_s)
            started_s = CLOCK.monotonic()
        out.print(
            f"[bold green]clean[/]: undone, proven gone and without residue in {CLOCK.monotonic() - started_s:.2f} s"
        )


@command.command()
def reference() -> None:
    """The catalogue as Markdown: what docs/reference/faults.md holds."""
    click.echo(reference_markdown(), nl=False)


def find(name: str) -> type[Fault]:
    """The fault of that name; raises `UsageError` naming the nearest ones."""
    import difflib

    from harness._errors import UsageError
    from harness.faults import catalogue

    known = catalogue()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise UsageError(f"no fault is called {name!r}", fix=", ".join(near) or "harness faults list")
    return known[name]


def make(kind: type[Fault], settings: tuple[str, ...]) -> Fault:
    """A fault from `field=value` texts; raises `UsageError` for a field that is missing, unknown or unreadable."""
    import dataclasses

    from harness._errors import UsageError

    fields = {f.name: f for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for text in settings:
        field, found, value = text.partition("=")
        if not found or field not in fields:
            raise UsageError(
                f"{kind.name} has no field {field!r}", fix="--set FIELD=VALUE with one of " + ", ".join(fields)
            )
        values[field] = read_value(kind.name, field, str(fields[field].type), value)
    missing = [
        n
        for n, f in fields.items()
        if n not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(
            f"{kind.name} needs {', '.join(missing)}",
            fix=f"--set {missing[0]}=...; harness faults describe {kind.name}",
        )
    return kind(**values)


def read_value(fault: str, field: str, kind: str, text: str) -> Any:
    """A field's text as its type."""
    import json

    from harness._errors import UsageError
    from harness.faults import Object, Workload

    try:
        if kind == "Workload":
            namespace, _, rest = text.partition("/")
            name, _, workload_kind = rest.partition(":")
            return Workload(namespace, name, workload_kind or "Deployment")
        if kind == "Object":
            object_kind, namespace, name = text.split("/")
            return Object(object_kind, namespace, name)
        if kind in ("int", "float", "bool"):
            if kind == "bool":
                return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
            return int(text) if kind == "int" else float(text)
        if kind == "Any":
            return json.loads(text)
    except (ValueError, KeyError) as err:
        raise UsageError(f"{fault}: {field} cannot be {text!r}", last=err, fix=f"a value of type {kind}") from err
    return text


def seconds(text: str) -> float:
    """`30`, `30s`, `1.5m` as seconds; raises `UsageError` for anything else, and for zero and less."""
    import re

    from harness._errors import UsageError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|)", text)
    if not found or float(found[1]) <= 0:
        raise UsageError(f"a duration cannot be {text!r}", fix="more than zero, such as 30s or 2m")
    return float(found[1]) * (60 if found[2] == "m" else 1)


def first_sentence(kind: type[Fault]) -> str:
    """The first sentence of a fault's docstring."""
    import re

    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) |[;:] ", text)[0]


def describe_markdown(kind: type[Fault]) -> str:
    """One fault as Markdown."""
    import dataclasses
    import inspect

    text, _, args = inspect.cleandoc(kind.__doc__ or "").partition("Args:\n")
    shown: dict[str, str] = {}
    last = ""
    for line in inspect.cleandoc(args).splitlines():
        name, colon, about = line.partition(": ")
        if colon and not line.startswith(" "):
            last, shown[name] = name, about
        elif last:
            shown[last] += " " + line.strip()
    rows = []
    for field in dataclasses.fields(kind):
        default = "required" if field.default is dataclasses.MISSING else f"`{_default(field.default)}`"
        about = shown.get(field.name) or INHERITED.get(field.name, "")
        rows.append(f"| `{field.name}` | {field.type} | {default} | {about} |")
    head = f"## {kind.name}\n\n`from harness.faults import {kind.__name__}`\n\n{text.strip()}\n"
    undo = (
        "The platform heals it; nothing is reverted."
        if kind.one_shot
        else f"Must be proven gone within {kind.clear.total_s:g} s of its revert."
    )
    table = "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows])
    return f"{head}\n{table}\n\nMust be proven within {kind.prove.total_s:g} s. {undo}\n"


INHERITED = {
    "max_s": "the longest it may last; enforced on the cluster, whatever becomes of the runner",
    "mode": "`graceful`, `force` or `process`",
    "which": "`one` (the oldest) or `all`",
}


def _default(value: object) -> str:
    return str(value) if value != "" else '""'


def reference_markdown() -> str:
    """The whole catalogue as Markdown."""
    from harness.faults import catalogue

    kinds = catalogue()
    head = (
        "# Faults\n\nGenerated by `harness faults reference` from the code. How a fault lives: "
        "[life of a fault](../explanation/life-of-a-fault.md).\n\n"
        "| fault | what it does | undo |\n|---|---|---|\n"
    )
    rows = "".join(
        f"| [{n}](#{n.replace('.', '')}) | {first_sentence(k)} | {'heals by itself' if k.one_shot else 'dead-man'} |\n"
        for n, k in kinds.items()
    )
    return head + rows + "\n" + "\n".join(describe_markdown(k) for k in kinds.values())
