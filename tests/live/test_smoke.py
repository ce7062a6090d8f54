"""The live smoke test: a platform from nothing, and stories that must end as they should, on a real cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUDGET_S = 4200  # of the whole, with a cold bundle

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def run() -> tuple[subprocess.CompletedProcess[str], Path]:
    """Drift healed and an alert delivered, through the same command that users type."""
    command = [sys.executable, "-m", "pytest", "scenarios/", "-v", "-k", "scaling_a_deployment or longer_than_the_rule"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=BUDGET_S, check=False)
    print(done.stdout[-6000:], done.stderr[-6000:])
    page = re.search(r"report: (\S+)", done.stdout)
    assert page, "no report was written"
    return done, Path(page.group(1)).parent


def test_the_stories_were_judged(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """Both stories ran to a verdict with evidence: the machine may be slow, but nothing may be missing or contradicted."""
    results = [json.loads(p.read_text()) for p in run[1].glob("scenarios/*/result.json")]
    assert len(results) == 2
    for result in results:
        proven = [f for f in result["findings"] if f["clause"] == "fault_proven()"]
        assert proven, result["why"]
        assert proven[0]["verdict"] == "PASS", proven


def test_the_stories_passed(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """What the platform promises holds: exit code, JUnit and results agree."""
    results = [json.loads(p.read_text()) for p in run[1].glob("scenarios/*/result.json")]
    assert {r["scenario"]: r["verdict"] for r in results} == {r["scenario"]: "PASS" for r in results}
    assert run[0].returncode == 0


def test_the_report_is_whole(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The page, the results and the JUnit file are there."""
    for name in ("report.html", "results.json", "junit.xml"):
        assert (run[1] / name).stat().st_size > 500


def test_everything_in_the_history_is_documented(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """Who writes a check reads docs/reference/history.md: each source, event and field that a real run wrote is there."""
    known: dict[tuple[str, str], set[str]] = {}
    for line in (ROOT / "docs" / "reference" / "history.md").read_text().splitlines():
        row = re.match(r"\| (\w+) \| ([^|]+) \| (.*)\|", line)
        for event in re.findall(r"`(\w+)`", row.group(2)) if row else ():
            known.setdefault((row.group(1), event), set()).update(re.findall(r"\w+", row.group(3)))  # type: ignore[union-attr]
    unknown = set()
    for path in run[1].glob("scenarios/*/history.jsonl"):
        for text in path.read_text().splitlines()[1:]:
            record = json.loads(text)
            kind = record["source"], record["event"]
            unknown |= {(*kind, key) for key in record.get("data", {}) if key not in known.get(kind, set())}
    assert unknown == set()
