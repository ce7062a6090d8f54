"""The one seam for commands: everything that the harness starts, it starts here."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness._clock import CLOCK
from harness._errors import CommandFailed


@dataclass(frozen=True)
class Completed:
    """A command that has ended: `args`, exit `code`, `out` and `err` as text, and `took_s`."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.code == 0


def run(
    args: Sequence[str],
    *,
    timeout_s: float,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    where: str = "",
    fix: str = "",
    log: Path | None = None,
) -> Completed:
    """Run a command to its end.

    Args:
        args: program and arguments; never goes through a shell here.
        timeout_s: after this many seconds the command is killed.
        stdin: what it reads.
        env: variables added to our own environment.
        cwd: where it runs.
        check: raise when the exit code is not 0.
        where: place named in the error (host, node, container).
        fix: what the user can try, named in the error.
        log: file that receives stdout and stderr instead of memory (long builds); `out` is then its tail.

    Raises:
        CommandFailed: exit code not 0 (with `check`), the program is missing, or the time ran out.
    """
    start = CLOCK.monotonic()
    data = stdin.encode() if isinstance(stdin, str) else stdin
    shown = shlex.join(args)[:300]
    sink = log.open("ab") if log else None
    try:
        done = subprocess.run(
            list(args),
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            stdout=sink or subprocess.PIPE,
            stderr=subprocess.STDOUT if sink else subprocess.PIPE,
            env={**os.environ, **env} if env else None,
            cwd=cwd,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        seen = _tail((late.stderr or late.stdout or b"").decode(errors="replace")) if not log else _file_tail(log)
        raise CommandFailed(
            f"{shown}: still running after {timeout_s:g} s, killed", where=where, last=seen or None, fix=fix
        ) from late
    except FileNotFoundError as missing:
        raise CommandFailed(
            f"{args[0]}: no such program", where=where, last=str(missing), fix=fix or f"install {args[0]}"
        ) from missing
    finally:
        if sink:
            sink.close()
    out = _file_tail(log) if log else done.stdout.decode(errors="replace")
    err = "" if log else done.stderr.decode(errors="replace")
    took_s = CLOCK.monotonic() - start
    if check and done.returncode != 0:
        raise CommandFailed(
            f"{shown}: exit {done.returncode}", where=where, last=_tail(err.strip() or out.strip()), fix=fix
        )
    return Completed(tuple(args), done.returncode, out, err, took_s)


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def _file_tail(path: Path, size_bytes: int = 8192) -> str:
    with path.open("rb") as handle:
        handle.seek(0, os.SEEK_END)
        handle.seek(max(0, handle.tell() - size_bytes))
        return _tail(handle.read().decode(errors="replace"))
