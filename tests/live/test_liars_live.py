"""Lies on a real cluster: whatever a verdict rests on is broken, and no story may pass."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUDGET_S = 900  # of one run: a platform that is up, a Boutique, one story

pytestmark = pytest.mark.live

KEPT_DOWN, DRIFT = "longer_than_the_rule", "scaling_a_deployment"


@pytest.mark.parametrize(
    ("sabotage", "story", "verdicts", "says"),
    [
        ("rule", KEPT_DOWN, {"FAIL"}, "no rule named CartServiceDown is loaded"),
        ("controller", DRIFT, {"FAIL"}, "still differs from Git"),
        ("no-effect", KEPT_DOWN, {"UNKNOWN"}, ""),
        ("wrong-target", KEPT_DOWN, {"UNKNOWN"}, ""),
        ("load-dies", KEPT_DOWN, {"UNKNOWN"}, "load died"),
        ("receiver", KEPT_DOWN, {"UNKNOWN", "FAIL"}, ""),
        ("alertmanager", KEPT_DOWN, {"UNKNOWN", "FAIL"}, ""),
        ("kube-state-metrics", KEPT_DOWN, {"UNKNOWN", "FAIL"}, ""),
        ("prometheus", KEPT_DOWN, {"UNKNOWN"}, ""),
    ],
)
def test_a_lie_never_passes(sabotage: str, story: str, verdicts: set[str], says: str) -> None:
    """One story under one sabotage: its verdict, and the sentence that says why."""
    result, code = told(sabotage, story)
    said = [result["why"], *(f["why"] for f in result["findings"] if f["verdict"] != "PASS")]
    print(sabotage, result["verdict"], said)
    assert result["verdict"] in verdicts, said
    assert any(says in line for line in said), said
    assert code == 1


def told(sabotage: str, story: str) -> tuple[dict[str, Any], int]:
    """The result of the story, and the exit code of pytest."""
    command = [sys.executable, "-m", "pytest", "scenarios/", "-k", story, "-p", "tests.live.sabotage"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "--sabotage", sabotage],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=BUDGET_S,
        check=False,
    )
    page = re.search(r"report: (\S+)", done.stdout)
    assert page, done.stdout[-3000:] + done.stderr[-2000:]
    results = [json.loads(p.read_text()) for p in Path(page.group(1)).parent.glob("scenarios/*/result.json")]
    assert len(results) == 1, done.stdout[-3000:]
    return results[0], done.returncode
