"""Calibration of an environment: known disturbances, measured by the recorders and by independent observers.

The result is kept with the environment and published in every report of a run on it, with when and how busy it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness._clock import CLOCK, utc_text
from harness._progress import Step
from harness.boutique.deploy import Boutique, Release, deploy
from harness.env import Env
from harness.faults import DriftScale, KeptDown, PodKill, Workload, injected
from harness.faults._context import platform_context
from harness.history import HistoryWriter, read_history
from harness.observe import recorders, recording
from harness.observe.truth import AlertObserver, DeploymentObserver, DriftObserver, UserObserver, calibrate, table
from harness.observe.watch import api_endpoint
from harness.provision import Platform
from harness.story import probe_of, sources_of

NAME = "calibration"
APP, DRIFTED, ALERT = "cartservice", "recommendationservice", "CartServiceDown"
SETTLE_S = 8.0  # after each disturbance
DRIFTS = 3


def run(platform: Platform, step: Step, *, kills: int = 10) -> list[dict[str, Any]]:
    """Disturb a Boutique of its own, compare, and keep the result; the rows as the report shows them.

    Args:
        platform: what is calibrated.
        step: told what is going on.
        kills: how many times the cart's pod is killed.

    Raises:
        HarnessError: a disturbance did not work, or the Boutique could not be deployed.
    """
    boutique, release = Boutique(platform.env, NAME), Release()
    step.note("deploying its Boutique")
    deploy(boutique, platform.kube, release, "The release that is calibrated on")
    path = platform.env.state_dir / f"{NAME}.jsonl"
    path.unlink(missing_ok=True)
    history = HistoryWriter(path, scenario=NAME, run=NAME)
    sources = sources_of(platform, boutique, release, ())
    api = api_endpoint(platform.kube)
    observers = [
        DeploymentObserver(api, boutique.namespace, APP),
        DriftObserver(api, boutique.namespace, DRIFTED, 1),
        UserObserver(probe_of(platform, boutique)),
        AlertObserver(sources.prometheus_url, ALERT, boutique.namespace),
    ]
    load_before = os.getloadavg()[0]
    try:
        with recording(history, recorders(sources).recorders):
            calibrate(history, observers, _disturbances(platform, boutique, step, kills), SETTLE_S)
    finally:
        history.close()
    rows = table(read_history(path), APP, drifted=DRIFTED, alert=ALERT)
    kept = {"rows": rows, "at": utc_text(CLOCK.wall()), "load_before": round(load_before, 1)}
    _file(platform.env).write_text(json.dumps(kept, indent=1))
    return rows


def _disturbances(platform: Platform, boutique: Boutique, step: Step, kills: int) -> Iterator[None]:
    ctx = platform_context(platform, run_id=NAME)
    cart = Workload(boutique.namespace, APP)
    for number in range(kills):
        step.note(f"pod kill {number + 1} of {kills}")
        with injected(PodKill(target=cart, mode="force"), ctx):
            pass
        yield
    for number in range(DRIFTS):
        step.note(f"drift {number + 1} of {DRIFTS}")
        drift = DriftScale(target=Workload(boutique.namespace, DRIFTED), replicas=0)
        with injected(drift, ctx):
            CLOCK.sleep(SETTLE_S)
        yield
    step.note("an outage until the alert fires, and its end")
    with injected(KeptDown(target=cart, max_s=120), ctx):
        CLOCK.sleep(platform.profile.detect_s(ALERT))
    CLOCK.sleep(platform.profile.resolved_s())
    yield


def _file(env: Env) -> Path:
    return env.state_dir / f"{NAME}.json"


def last(env: Env) -> dict[str, Any]:
    """What the last calibration of an environment found: `rows`, `at` (UTC), `load_before`; empty when there was none."""
    path = _file(env)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
