"""The bundle from nothing: seconds, disk at its worst and afterwards, and how long each component took.

It uses an empty cache folder of its own, which is left there to be looked at; everything comes over the network anew.
Disk is read once a second from the file system that holds the folder, so other writers there count, too.

    .venv/bin/python benchmarks/cold_bundle.py --cache /var/tmp/cold
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
import time
from pathlib import Path


def main() -> None:
    """Build it and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, required=True, help="an empty folder")
    options = parser.parse_args()
    cache: Path = options.cache
    cache.mkdir(parents=True, exist_ok=True)
    if any(cache.iterdir()):
        parser.error(f"{cache} is not empty")
    os.environ["HARNESS_CACHE_DIR"] = str(cache)

    from harness import bundle
    from harness._progress import showing
    from harness.bundle.store import stamp
    from harness.setup import ensure_machine

    before, most, done = shutil.disk_usage(cache).used, 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(1):
            most = max(most, shutil.disk_usage(cache).used - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with showing() as show:
        ensure_machine(show)
        start_s = time.monotonic()
        made = bundle.ensure(show=show, keep_caches=False)
        took_s = time.monotonic() - start_s
    done.set()
    watcher.join()
    figures = {
        "took_s": round(took_s),
        "disk_peak_bytes": most,
        "disk_after_bytes": shutil.disk_usage(cache).used - before,
        "component_s": {name: stamp(name).get("took_s") for name in made.specs},
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
