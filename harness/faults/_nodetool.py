"""The helper program on nodes: put there once, run in a pod's network namespace or on the node itself."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness._errors import CommandFailed
from harness.faults._model import FaultContext

PUT_TIMEOUT_S = 60
_there: set[tuple[str, str, str]] = set()  # environment, node, path: looked for once a process


@lru_cache(maxsize=8)
def _digest(path: Path, size_bytes: int, changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10]


def path_on(ctx: FaultContext, node: str) -> str:
    """Where the helper is on a node; puts it there when it is not. It stays: it is a tool, and does nothing by itself."""
    local = ctx.tool("nodetool")
    stat = local.stat()
    target = f"/usr/local/bin/rh-nodetool-{_digest(local, stat.st_size, stat.st_mtime_ns)}"
    if (ctx.env.name, node, target) not in _there:
        if not ctx.node(node).run(["test", "-x", target], check=False).ok:
            ctx.node(node).put(local, f"{target}.new")
            ctx.node(node).run(["mv", f"{target}.new", target])
        _there.add((ctx.env.name, node, target))
    return target


def ask(ctx: FaultContext, node: str, args: Sequence[str], *, netns: str = "", timeout_s: float = 15) -> dict[str, Any]:
    """Run a command of the helper and return its answer; empty when the network namespace is no longer there."""
    tool = path_on(ctx, node)
    inside = ["ip", "netns", "exec", netns] if netns else []
    done = ctx.node(node).run([*inside, tool, *args], timeout_s=timeout_s, check=False)
    if done.ok:
        return parse(done.out)
    if netns and not ctx.node(node).run(["test", "-e", f"/run/netns/{netns}"], check=False).ok:
        return {}
    raise CommandFailed(
        f"nodetool {shlex.join(args)[:200]}", where=f"node {node}", last=done.err.strip() or done.out.strip()
    )


def parse(text: str) -> dict[str, Any]:
    """What the helper printed; empty when it printed nothing."""
    answer: dict[str, Any] = json.loads(text) if text.strip() else {}
    return answer


def start_unit(unit: str, command: str, *properties: str) -> str:
    """A shell line that starts a command as a systemd unit of its own on a node, and fails if it dies at once."""
    flags = " ".join(f"-p {shlex.quote(p)}" for p in properties)
    return f"systemd-run -q --unit={unit} {flags} {command}"


def stop_unit_line(unit: str) -> str:
    """A shell line that stops such a unit, if it is there, and forgets it."""
    return (
        f"systemctl stop {unit}.service 2>/dev/null || :\nsystemctl reset-failed {unit}.service 2>/dev/null || :\n"
        f'case "$(systemctl is-active {unit}.service)" in active|deactivating) exit 1;; esac'
    )


def units(ctx: FaultContext, node: str, prefix: str) -> list[str]:
    """The units of that name that are on a node, dead-men left out."""
    done = ctx.node(node).run(["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{prefix}*"], check=False)
    return [line.split()[0] for line in done.out.splitlines() if line.strip() and "rh-undo-" not in line]
