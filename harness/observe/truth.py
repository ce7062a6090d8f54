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
API_RUNG, USER_RUNG = "Deployment available", "users served"
GOALS_S: Mapping[str, float] = {API_RUNG: 0.02, USER_RUNG: 0.2, "length of the outage": 0.2}

Change = tuple[float, bool]


class Observer(Recorder):
    """Writes `calibration`/`truth` when what it looks at becomes good or bad: halfway between its last two looks.

    Args:
        rung: what is observed.
        endpoint: whom to ask.
    """

    from_start = False  # whether a look tells of the moment at which it began, as the user probe's requests do

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
            self.stopping.wait(max(0.0, EVERY_S - (history.now_s() - sent_s)))
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


def table(history: History, app: str) -> list[dict[str, Any]]:
    """What the report shows: for each rung the number of comparisons, the median and the worst error, and the goal."""
    api = [
        (r.t_s, int(r.data["available"]) >= int(r.data["desired"]) > 0)
        for r in history.of("k8s", "deployment")
        if r.data["name"] == app
    ]
    users = [(r.t_s, bool(r.data["ok"])) for r in history.of("probe", "request")]
    found = []
    for rung, mine in ((API_RUNG, api), (USER_RUNG, users)):
        truth = [(r.t_s, bool(r.data["good"])) for r in history.of("calibration", "truth") if r.data["rung"] == rung]
        found.append(_row(rung, offsets(changes(mine), changes(truth))))
        if rung == USER_RUNG:
            pairs = zip(outages(mine), outages(truth), strict=False)
            found.append(_row("length of the outage", [a - b for a, b in pairs]))
    return found


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
