"""How long `harness --help` takes, as a person feels it: wall time of the whole process.

.venv/bin/python benchmarks/command_line.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 20
HARNESS = Path(sys.executable).with_name("harness")


def main() -> None:
    """Run it a number of times and print the figures."""
    took_s = []
    for _ in range(RUNS):
        start_s = time.perf_counter()
        subprocess.run([HARNESS, "--help"], stdout=subprocess.DEVNULL, check=True)
        took_s.append(time.perf_counter() - start_s)
    figures = {"n": RUNS, "median_s": round(statistics.median(took_s), 3), "worst_s": round(max(took_s), 3)}
    print(json.dumps({"harness --help": figures}))


if __name__ == "__main__":
    main()
