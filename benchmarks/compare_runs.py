"""The figures of several runs side by side, as a Markdown table: the same scenarios on different providers, say.

Usage: `.venv/bin/python benchmarks/compare_runs.py reports/RUN-A reports/RUN-B`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

FIGURES = {
    "deployment_lead_time": "deployment lead time",
    "time_to_detect": "time to detect (alert delivered)",
    "drift_self_heal_time": "drift self-heal time",
    "rollback_time": "rollback time",
    "time_to_recover": "time to recover (Deployment available)",
    "user_outage": "outage that users felt",
}


def cell(figure: dict[str, Any] | None) -> str:
    """Median, worst, error and how many."""
    if not figure:
        return "–"
    return f"{figure['median_s']:.1f} / {figure['worst_s']:.1f} ± {figure['err_s']:.2f} (n={figure['n']})"


def main() -> None:
    """Read the runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    heads, results = [], []
    for run in parser.parse_args().runs:
        info = json.loads((run / "run.json").read_text())
        results.append((json.loads((run / "results.json").read_text()), info))
        heads.append(f"`{info['provider']}`")
    print("| seconds, median / worst ± error | " + " | ".join(heads) + " |")
    print("|---|" + "---|" * len(heads))
    for name, words in FIGURES.items():
        print(f"| {words} | " + " | ".join(cell(found["figures"].get(name)) for found, _ in results) + " |")
    verdicts = []
    for found, info in results:
        counts = Counter(s["verdict"] for s in found["scenarios"])
        said = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
        verdicts.append(said + (f", {len(info['skipped'])} skipped" if info.get("skipped") else ""))
    print("| verdicts | " + " | ".join(verdicts) + " |")


if __name__ == "__main__":
    main()
