"""What Prometheus stored of the scenario's window: processor, memory, restarts, requests; read once, at the end.

A rate looks back over its range. So only points whose whole range lies in the window are kept: the first ones would
speak of the time before the scenario.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from harness.history import HistoryWriter
from harness.observe._http import UNREACHABLE, Endpoint, Line, say
from harness.observe.recorder import Recorder

STEP_S = 5.0
ANSWER_WITHIN_S = 4.0


@dataclass(frozen=True)
class Metric:
    """One question to Prometheus.

    Args:
        name: in the history and in contracts.
        expr: PromQL; `{namespace}` is the Boutique's.
        unit: of its values.
        range_s: how far back a point looks.
    """

    name: str
    expr: str
    unit: str
    range_s: float = 0.0


METRICS = (
    Metric(
        "cpu",
        'sum by (pod) (rate(container_cpu_usage_seconds_total{{namespace="{namespace}", container!=""}}[60s]))',
        "cores",
        60.0,  # cAdvisor is read each 15 s, and a rate needs two readings
    ),
    Metric(
        "memory",
        'sum by (pod) (container_memory_working_set_bytes{{namespace="{namespace}", container!=""}})',
        "bytes",
    ),
    Metric("restarts", 'sum by (pod) (kube_pod_container_status_restarts_total{{namespace="{namespace}"}})', "count"),
    Metric(
        "requests",
        'sum by (status) (rate(nginx_ingress_controller_requests{{namespace="{namespace}"}}[30s]))',
        "1/s",
        30.0,
    ),
    Metric("node-cpu", 'sum by (node) (rate(container_cpu_usage_seconds_total{{id="/"}}[60s]))', "cores", 60.0),
)


class MetricsRecorder(Recorder):
    """Writes a `metrics`/`window` for each metric and a `metrics`/`series` for each of its series.

    Args:
        url: of Prometheus.
        namespace: the Boutique's.
        metrics: what to ask.
    """

    def __init__(self, url: str, namespace: str, metrics: Sequence[Metric] = METRICS) -> None:
        super().__init__("metrics")
        self._line = Line(Endpoint(url, timeout_s=ANSWER_WITHIN_S))
        self._namespace, self._metrics = namespace, tuple(metrics)
        self._from_s = 0.0

    def start(self, history: HistoryWriter) -> None:
        """Note the window's begin; there is nothing to do before its end."""
        self._from_s = history.now_s()
        self.ready.set()

    def finish(self, history: HistoryWriter) -> None:
        """Ask for the window; one that does not answer is not asked again, the story's end does not wait for it."""
        end_s, error = history.now_s(), ""
        for metric in self._metrics:
            about: dict[str, Any] = {"name": metric.name, "unit": metric.unit, "range_s": metric.range_s}
            window_s = end_s - self._from_s
            if window_s <= metric.range_s:
                short = f"a window of {window_s:.0f} s is shorter than the query's range"
                history.mark("metrics", "window", ok=False, series=0, error=short, **about)
                continue
            series: list[dict[str, Any]] = []
            try:
                series = [] if error else self._read(history, metric, end_s)
            except (*UNREACHABLE, KeyError, TypeError, ValueError) as err:
                error = say(err)
            for one in series:
                history.mark("metrics", "series", name=metric.name, unit=metric.unit, **one)
            history.mark("metrics", "window", ok=not error, series=len(series), error=error, **about)
        self._line.close()

    def _read(self, history: HistoryWriter, metric: Metric, end_s: float) -> list[dict[str, Any]]:
        asked = {
            "query": metric.expr.format(namespace=self._namespace),
            "start": f"{history.start_wall_s + self._from_s + metric.range_s:.3f}",
            "end": f"{history.start_wall_s + end_s:.3f}",
            "step": str(STEP_S),
        }
        answer = self._line.get_json(f"/api/v1/query_range?{urlencode(asked)}")
        return [{"labels": s["metric"], "points": _points(history, s["values"])} for s in answer["data"]["result"]]


def _points(history: HistoryWriter, values: Sequence[Sequence[Any]]) -> list[list[float]]:
    """(t_s, value), without what is no number."""
    numbers = [(float(at), float(text)) for at, text in values]
    return [[round(history.at_wall(at), 1), round(value, 4)] for at, value in numbers if math.isfinite(value)]
