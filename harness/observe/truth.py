"""Calibration: how far the recorders are off, measured against independent observers that look 50 times a second.

The observers use no watch and none of the recorders' code but the connection. They cost far more than recorders may, so
they run in a calibration only.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from harness._clock import CLOCK
from harness.history import History, HistoryWriter
from harness.observe._http import UNREACHABLE, Endpoint, Line
from harness.observe.probe import ProbeSpec, endpoint_of
from harness.observe.recorder import Recorder

EVERY_S = 0.02
SAME_WITHIN_S = 2.0  # a change that both saw, not two changes
API_RUNG, USER_RUNG, OUTAGE = "Deployment available", "users served", "length of the outage"
HEAL_RUNG, ALERT_RUNG = "drift healed", "alert firing"
GOALS_S: Mapping[str, float] = {API_RUNG: 0.05, HEAL_RUNG: 0.05, USER_RUNG: 0.2, OUTAGE: 0.2, ALERT_RUNG: 1.0}

Change = tuple[float, bool]


class Observer(Recorder):
    """Writes `calibration`/`truth` when what it looks at becomes good or bad: halfway between its last two looks.

    Args:
        rung: what is observed.
        endpoint: whom to ask.
    """

    from_start = False  # whether a look tells of the moment at which it began, as the user probe's requests do
    every_s = EVERY_S

    def __init__(self, rung: str, endpoint: Endpoint) -> None:
        super().__init__(f"truth-{rung}")
        self._rung, self._line = rung, Line(endpoint)

    def good(self) -> bool:
        """Look once."""
        raise NotImplementedError

    def record(self, history: HistoryWriter) -> None:
        """Look until stopped."""
        last: Change | None = None
        while not self.stopping.is_set():
            sent_s = history.now_s()
            try:
                seen = self.good()
            except UNREACHABLE:
                self._line.close()
                seen = False
            came_s = history.now_s()
            now: Change = (sent_s if self.from_start else (sent_s + came_s) / 2, seen)
            if last is None or last[1] != seen:
                before_s = last[0] if last else now[0]
                t_s, err_s = (before_s + now[0]) / 2, (came_s - before_s) / 2
                history.mark("calibration", "truth", t_s=t_s, err_s=err_s, rung=self._rung, good=seen)
                self.ready.set()
            last = now
            self.stopping.wait(max(0.0, self.every_s - (history.now_s() - sent_s)))
        self._line.close()


class DeploymentObserver(Observer):
    """Whether a Deployment has the pods available that it asks for."""

    def __init__(self, api: Endpoint, namespace: str, name: str) -> None:
        super().__init__(API_RUNG, api)
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"

    def good(self) -> bool:
        """Ask the API."""
        item = self._line.get_json(self._path)
        return bool(item.get("status", {}).get("availableReplicas", 0) >= item["spec"].get("replicas", 1) > 0)


class DriftObserver(DeploymentObserver):
    """Whether a Deployment asks for the pods that Git wants, and has them available."""

    def __init__(self, api: Endpoint, namespace: str, name: str, replicas: int) -> None:
        super().__init__(api, namespace, name)
        self._rung, self._replicas = HEAL_RUNG, replicas

    def good(self) -> bool:
        """Ask the API."""
        item = self._line.get_json(self._path)
        asked, status = item["spec"].get("replicas", 1), item.get("status", {})
        current = status.get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
        return bool(current and asked == self._replicas and status.get("availableReplicas", 0) >= asked)


class AlertObserver(Observer):
    """Whether Prometheus says that an alert does not fire; ten times a second, for its answer is long."""

    every_s = 0.1

    def __init__(self, prometheus_url: str, name: str, namespace: str) -> None:
        super().__init__(ALERT_RUNG, Endpoint(prometheus_url))
        self._name, self._namespace = name, namespace

    def good(self) -> bool:
        """Ask it."""
        alerts = self._line.get_json("/api/v1/alerts")["data"]["alerts"]
        return not any(_about(a["labels"], self._name, self._namespace) and a["state"] == "firing" for a in alerts)


def _about(labels: Mapping[str, str], name: str, namespace: str) -> bool:
    return labels.get("alertname", name) == name and labels.get("namespace") == namespace


class UserObserver(Observer):
    """Whether the home page is served."""

    from_start = True

    def __init__(self, spec: ProbeSpec) -> None:
        super().__init__(USER_RUNG, endpoint_of(spec))
        self._path = spec.path

    def good(self) -> bool:
        """Ask for it."""
        self._line.get(self._path)
        return True


def calibrate(history: HistoryWriter, observers: Sequence[Observer], disturb: Iterator[None], settle_s: float) -> None:
    """Run `observers` while `disturb` breaks something at each step; `settle_s` seconds pass after each."""
    for observer in observers:
        observer.start(history)
    try:
        CLOCK.sleep(1.0)
        for _ in disturb:
            CLOCK.sleep(settle_s)
    finally:
        for observer in observers:
            observer.stop()
        for observer in observers:
            observer.join(5.0)


def table(history: History, app: str, *, drifted: str = "", alert: str = "") -> list[dict[str, Any]]:
    """What the report shows: for each rung the number of comparisons, the median and the worst error, and the goal.

    Args:
        history: of the calibration.
        app: the Deployment that was disturbed.
        drifted: the Deployment that drifted, when one did.
        alert: the alert that fired, when one did.
    """
    found = [_row(API_RUNG, offsets(changes(_available(history, app)), _truth(history, API_RUNG)))]
    if drifted:
        found.append(_row(HEAL_RUNG, offsets(changes(_equal(history)), _truth(history, HEAL_RUNG))))
    users = [(r.t_s, bool(r.data["ok"])) for r in history.of("probe", "request")]
    found.append(_row(USER_RUNG, offsets(changes(users), _truth(history, USER_RUNG))))
    pairs = zip(outages(users), outages(_states(history, USER_RUNG)), strict=False)
    found.append(_row(OUTAGE, [a - b for a, b in pairs]))
    if alert:
        found.append(_row(ALERT_RUNG, offsets(_fired(history, alert), _truth(history, ALERT_RUNG))))
    return found


def _states(history: History, rung: str) -> list[Change]:
    return [(r.t_s, bool(r.data["good"])) for r in history.of("calibration", "truth") if r.data["rung"] == rung]


def _truth(history: History, rung: str) -> list[Change]:
    return changes(_states(history, rung))


def _available(history: History, app: str) -> list[Change]:
    rows = [r for r in history.of("k8s", "deployment") if r.data["name"] == app]
    return [(r.t_s, int(r.data["available"]) >= int(r.data["desired"]) > 0) for r in rows]


def _equal(history: History) -> list[Change]:
    return [(r.t_s, bool(r.data["equal"]) and bool(r.data["healthy"])) for r in history.of("live", "diff")]


def _fired(history: History, alert: str) -> list[Change]:
    rows = [r for r in history.of("prom", "alert") if r.data["name"] == alert and r.data["state"] != "pending"]
    return [(r.t_s, r.data["state"] != "firing") for r in rows]


def changes(states: Sequence[Change]) -> list[Change]:
    """The states at which good turned bad or bad turned good; what was at the start is no change."""
    return [now for last, now in pairwise(states) if last[1] != now[1]]


def offsets(mine: Sequence[Change], truth: Sequence[Change]) -> list[float]:
    """For each true change how much later we saw the same one; those that only one side saw are left out."""
    found = []
    for t_s, good in truth:
        near = [m_s - t_s for m_s, m_good in mine if m_good == good and abs(m_s - t_s) <= SAME_WITHIN_S]
        if near:
            found.append(min(near, key=abs))
    return found


def outages(states: Sequence[Change]) -> list[float]:
    """How long each stretch of bad states lasted; stretches less than 2 s apart are one."""
    merged: list[list[float]] = []
    start_s: float | None = None
    for t_s, good in states:
        if not good and start_s is None:
            start_s = t_s
        elif good and start_s is not None:
            if merged and start_s - merged[-1][1] < SAME_WITHIN_S:
                merged[-1][1] = t_s
            else:
                merged.append([start_s, t_s])
            start_s = None
    return [end_s - begin_s for begin_s, end_s in merged]


def _row(rung: str, errors: Sequence[float]) -> dict[str, Any]:
    middle: float | None = statistics.median(errors) if errors else None
    worst: float | None = max(errors, key=abs) if errors else None
    return {
        "rung": rung,
        "n": len(errors),
        "median_s": None if middle is None else round(middle, 4),
        "worst_s": None if worst is None else round(worst, 4),
        "goal_s": GOALS_S[rung],
    }
