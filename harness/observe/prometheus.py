"""Alerts as Prometheus sees them (pending, firing, inactive), which rules are loaded, which scrape jobs are down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from harness._clock import CLOCK, Clock, parse_utc
from harness.history import HistoryWriter
from harness.observe._http import UNREACHABLE, Endpoint, Line, say
from harness.observe.recorder import Poller
from harness.stack.rules import JOBS

UP = quote("max by (job) (up)")
NOW = quote("time()")
CLOCK_CHECK_EVERY_S = 30.0
EVALUATED_WITHIN_S = 0.05  # between the start of an evaluation and its result

AlertKey = tuple[str, tuple[tuple[str, str], ...]]


class PrometheusRecorder(Poller):
    """Polls the rules API each second: one answer holds the rules, their alerts and when they were evaluated.

    Args:
        url: of Prometheus.
        jobs: scrape jobs that must be up, or somebody is blind.
        clock: the seam for tests.
    """

    def __init__(self, url: str, *, jobs: Sequence[str] = JOBS, clock: Clock = CLOCK) -> None:
        super().__init__("prom")
        self._line = Line(Endpoint(url, timeout_s=2.5))
        self._jobs, self._clock = frozenset(jobs), clock
        self._states: dict[AlertKey, str] = {}
        self._rules: list[dict[str, Any]] | None = None
        self._last_s: float | None = None  # when the last good poll was
        self._offset_s, self._offset_err_s, self._offset_at_s = 0.0, 0.0, -CLOCK_CHECK_EVERY_S

    def close(self) -> None:
        """Close the connection."""
        self._line.close()

    def look(self, history: HistoryWriter) -> None:
        """Poll once."""
        start_s = self._clock.monotonic()
        try:
            if start_s - self._offset_at_s >= CLOCK_CHECK_EVERY_S:
                self._measure_clock(start_s)
            groups = self._line.get_json("/api/v1/rules?type=alert")["data"]["groups"]
            jobs = self._line.get_json(f"/api/v1/query?query={UP}")["data"]["result"]
        except (*UNREACHABLE, KeyError, TypeError) as err:
            self._line.close()
            history.mark("prom", "poll", ok=False, ms=self._ms_since(start_s), error=say(err))
            return
        now_s = history.now_s()
        rules = [rule for group in groups for rule in group["rules"]]
        self._tell_rules(history, rules)
        self._tell_alerts(history, rules, now_s)
        self._last_s = now_s
        up = {r["metric"].get("job", "") for r in jobs if float(r["value"][1]) > 0}
        history.mark("prom", "poll", ok=True, ms=self._ms_since(start_s), down=sorted(self._jobs - up))

    def _ms_since(self, start_s: float) -> float:
        return round((self._clock.monotonic() - start_s) * 1000, 1)

    def _measure_clock(self, now_s: float) -> None:
        """How far Prometheus' clock is ahead of ours."""
        self._line.get("/-/ready")  # connects, so that only the question itself is timed
        sent_s = self._clock.wall()
        answer = self._line.get_json(f"/api/v1/query?query={NOW}")
        came_s = self._clock.wall()
        # It takes its time when the question arrives: after it was sent, before the answer came.
        self._offset_s = float(answer["data"]["result"][1]) - (sent_s + came_s) / 2
        self._offset_err_s = (came_s - sent_s) / 2
        self._offset_at_s = now_s

    def _tell_rules(self, history: HistoryWriter, rules: list[dict[str, Any]]) -> None:
        loaded = [{"name": r["name"], "for_s": r.get("duration", 0), "labels": r.get("labels", {})} for r in rules]
        if loaded != self._rules:
            self._rules = loaded
            history.mark("prom", "rules", rules=loaded)

    def _tell_alerts(self, history: HistoryWriter, rules: list[dict[str, Any]], now_s: float) -> None:
        seen: dict[AlertKey, str] = {}
        evaluated: dict[str, str] = {}
        for rule in rules:
            evaluated[rule["name"]] = rule.get("lastEvaluation", "")
            for alert in rule.get("alerts", ()):
                labels = {k: v for k, v in alert["labels"].items() if k != "alertname"}
                key = (rule["name"], tuple(sorted(labels.items())))
                seen[key] = alert["state"]
                if self._states.get(key) != alert["state"]:
                    active_s = self._our_wall(alert["activeAt"])
                    happened = alert["activeAt"] if alert["state"] == "pending" else evaluated[rule["name"]]
                    self._tell(history, key, alert["state"], happened, now_s, active_at_wall_s=round(active_s, 3))
        for key in [k for k in self._states if k not in seen]:
            self._tell(history, key, "inactive", evaluated.get(key[0], ""), now_s)
        self._states = seen

    def _tell(
        self, history: HistoryWriter, key: AlertKey, state: str, happened: str, now_s: float, **more: float
    ) -> None:
        t_s, err_s = self._when(history, happened, now_s)
        history.mark("prom", "alert", t_s=t_s, err_s=err_s, name=key[0], labels=dict(key[1]), state=state, **more)

    def _when(self, history: HistoryWriter, happened: str, now_s: float) -> tuple[float, float]:
        """The evaluation that changed it, if it was between the last poll and this one; else somewhere between."""
        last_s = self._last_s
        if happened:
            t_s = history.at_wall(self._our_wall(happened))
            slack_s = self._offset_err_s + EVALUATED_WITHIN_S
            if t_s <= now_s + slack_s and (last_s is None or t_s >= last_s - slack_s - 1.0):
                return t_s, slack_s
        if last_s is None:
            return now_s, 0.0
        return (last_s + now_s) / 2, (now_s - last_s) / 2

    def _our_wall(self, theirs: str) -> float:
        return parse_utc(theirs) - self._offset_s


class AlertmanagerRecorder(Poller):
    """Whether Alertmanager is ready, each second."""

    def __init__(self, url: str) -> None:
        super().__init__("alertmanager")
        self._line = Line(Endpoint(url, timeout_s=2.5))

    def close(self) -> None:
        """Close the connection."""
        self._line.close()

    def look(self, history: HistoryWriter) -> None:
        """Ask once."""
        try:
            self._line.get("/-/ready")
        except UNREACHABLE as err:
            self._line.close()
            history.mark("alertmanager", "poll", ok=False, error=say(err))
        else:
            history.mark("alertmanager", "poll", ok=True)


def alerts_firing(url: str) -> list[dict[str, Any]]:
    """The alerts that fire now, with their labels; for scenarios that must start quiet."""
    answer = json.loads(Line(Endpoint(url)).get("/api/v1/alerts"))
    return [a for a in answer["data"]["alerts"] if a["state"] == "firing"]
