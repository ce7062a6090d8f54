"""What an environment costs: seconds from a warm bundle to healthy, then memory and processor while nothing happens.

The processor's share is the difference of the containers' own counters (cgroup) over the window, so it is exact for the
window; memory is the working set (usage without the page cache that can be dropped), as kubelet counts it.

    HARNESS_ENV=bench .venv/bin/python benchmarks/platform_cost.py --window 120
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import docker

from harness import provision
from harness._progress import showing
from harness.env import LABEL, current_env


def usage(names: list[str]) -> dict[str, dict[str, Any]]:
    """Processor nanoseconds and working set in bytes of each container."""
    client = docker.from_env()
    found = {}
    for name in names:
        stats: Any = client.containers.get(name).stats(stream=False)
        memory = stats["memory_stats"]
        idle = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file", 0))
        found[name] = {
            "cpu_ns": stats["cpu_stats"]["cpu_usage"]["total_usage"],
            "memory_bytes": memory["usage"] - idle,
            "at_s": time.monotonic(),
        }
    return found


def main() -> None:
    """Make the environment, let it settle, measure, remove it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--window", type=float, default=120, help="seconds to measure over")
    parser.add_argument("--settle", type=float, default=60, help="seconds to wait before")
    parser.add_argument("--keep", action="store_true", help="leave the environment up")
    options = parser.parse_args()
    env = current_env()
    figures: dict[str, Any] = {}
    with showing() as show:
        start_s = time.monotonic()
        provision.up(env, show)
        figures["up_s"] = round(time.monotonic() - start_s, 1)
        start_s = time.monotonic()
        provision.up(env, show)
        figures["up_again_s"] = round(time.monotonic() - start_s, 1)
    client = docker.from_env()
    ours = client.containers.list(filters={"label": f"{LABEL}={env.name}"})
    nodes = client.containers.list(filters={"label": f"io.x-k8s.kind.cluster={env.prefix}"})
    names = sorted(c.name for c in [*ours, *nodes] if c.name)
    time.sleep(options.settle)
    before, load = usage(names), Path("/proc/loadavg").read_text().split()[0]
    time.sleep(options.window)
    after = usage(names)
    cores = {
        n: (after[n]["cpu_ns"] - before[n]["cpu_ns"]) / 1e9 / (after[n]["at_s"] - before[n]["at_s"]) for n in names
    }
    figures |= {
        "window_s": options.window,
        "load_before": float(load),
        "machine_cores": os.cpu_count(),
        "idle_cores": round(sum(cores.values()), 3),
        "idle_memory_bytes": sum(a["memory_bytes"] for a in after.values()),
        "cores_by_container": {n: round(c, 3) for n, c in cores.items()},
    }
    print(json.dumps(figures, indent=1))
    if not options.keep:
        with showing() as show:
            provision.down(env, show)


if __name__ == "__main__":
    main()
