"""What this process costs: processor time, and its memory at its worst."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # https://docs.kernel.org/filesystems/proc.html, clear_refs


def cpu_s() -> float:
    """Processor time so far, in user and kernel mode."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def forget_peak() -> None:
    """Start a new peak of memory from what is in use now; without the right to, the old one stays (it is too high then)."""
    with contextlib.suppress(OSError):
        CLEAR.write_text(RESET_PEAK)


def peak_memory_bytes() -> int:
    """The resident set at its largest since the start, or since `forget_peak`.

    Not `ru_maxrss`: a process inherits that from the one that started it (getrusage(2)), and ours are started by larger ones.
    """
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
