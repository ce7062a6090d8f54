"""What a process costs is its own: neither what its parent took, nor what it took before."""

from __future__ import annotations

import subprocess
import sys

from harness._usage import cpu_s, forget_peak, peak_memory_bytes

MIB = 2**20


def test_the_peak_is_not_the_parents() -> None:
    large = bytearray(200 * MIB)
    script = "from harness._usage import peak_memory_bytes; print(peak_memory_bytes())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert 0 < int(told.stdout) < 100 * MIB
    assert peak_memory_bytes() > len(large)


def test_a_new_peak_starts_from_what_is_in_use() -> None:
    large = bytearray(200 * MIB)
    before = peak_memory_bytes()
    del large
    forget_peak()
    assert peak_memory_bytes() < before - 100 * MIB


def test_processor_time_only_grows() -> None:
    before_s = cpu_s()
    sum(range(10**6))
    assert cpu_s() > before_s
