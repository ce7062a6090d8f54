"""The journal: a fault is written down before it is armed, and struck out after it is clean; what remains is swept."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.env import Env
from harness.faults._model import Aim, Fault, Undo


@dataclass(frozen=True)
class Entry:
    """One fault that may still be on."""

    id: str
    fault: str
    run_id: str
    pid: int
    undos: tuple[Undo, ...]
    data: dict[str, Any]
    path: Path


def folder(env: Env) -> Path:
    """Where the entries lie, one file each."""
    path = env.state_dir / "journal"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


def write(env: Env, fault: Fault, aim: Aim, undos: tuple[Undo, ...], run_id: str, wall_s: float) -> Path:
    """Write an entry, whole or not at all."""
    path = folder(env) / f"{aim.id}.json"
    body = {
        "id": aim.id,
        "fault": fault.name,
        "run_id": run_id,
        "pid": os.getpid(),
        "pid_start": pid_start(os.getpid()),
        "wall_s": wall_s,
        "spec": fault.spec(),
        "targets": [t.as_dict() for t in aim.targets],
        "mechanism": aim.mechanism,
        "undos": [{"where": u.where, "script": u.script} for u in undos],
    }
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(body, indent=2, default=str))
    draft.replace(path)
    return path


def pid_start(pid: int) -> str:
    """When a process started, in the kernel's ticks: with the pid, an identity; empty when it does not live."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(") ")[2].split(" ")[19]


def owner_lives(entry: Entry) -> bool:
    """Whether the process that injected the fault is still there, on this machine."""
    start = entry.data.get("pid_start")
    return bool(start) and pid_start(entry.pid) == start


def strike_out(env: Env, fault_id: str) -> None:
    """Remove an entry; it may be gone already."""
    (folder(env) / f"{fault_id}.json").unlink(missing_ok=True)


def entries(env: Env) -> list[Entry]:
    """What was written down and not struck out, oldest first; a file that cannot be read is left for a human."""
    found = []
    for path in sorted(folder(env).glob("*.json"), key=lambda p: p.stat().st_mtime):
        try:
            body = json.loads(path.read_text())
            undos = tuple(Undo(u["where"], u["script"]) for u in body["undos"])
            found.append(Entry(body["id"], body["fault"], body["run_id"], body["pid"], undos, body, path))
        except (ValueError, KeyError, TypeError):
            path.rename(path.with_suffix(".unreadable"))
    return found
