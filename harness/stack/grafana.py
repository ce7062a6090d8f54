"""Grafana: dashboards over Prometheus and Loki, proven by asking each panel's question; fault windows as annotations.

It is optional. Where its image had to be built it is the backend only, without pages; everything here works all the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness._errors import DeployError
from harness.env import Env
from harness.history import History, Record
from harness.kube import Kube
from harness.stack import _monitoring as monitoring
from harness.stack.base import DEPLOY_DIR, Component, StackContext, workloads_ready

DASHBOARDS = DEPLOY_DIR / "stack" / "grafana" / "dashboards"
TAG = "resilience-harness"
USER = "admin"
TIMEOUT_S = 10.0
# What the dashboards' variables stand for when no one has chosen; `$__` ones are Grafana's own.
ALL = {"$namespace": "boutique.*", "$__rate_interval": "1m", "$__interval": "15s"}


@dataclass(frozen=True)
class PanelCheck:
    """Whether a panel shows something.

    Args:
        dashboard: its title.
        panel: the panel's title.
        points: how many values its questions gave.
        error: why there are none, when the question itself failed.
    """

    dashboard: str
    panel: str
    points: int
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is data to see."""
        return not self.error and self.points > 0


@dataclass(frozen=True)
class Grafana:
    """A connection to Grafana's API."""

    url: str
    password: str

    def get(self, path: str) -> Any:
        """The answer to a GET."""
        return self._ask("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a POST."""
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        try:
            reply = httpx.request(
                method, f"{self.url}{path}", auth=(USER, self.password), timeout=TIMEOUT_S, trust_env=False, **options
            )
        except httpx.TransportError as err:
            raise DeployError(
                "Grafana cannot be reached", where=self.url, last=repr(err), fix="harness status"
            ) from err
        if not reply.is_success:
            raise DeployError(
                f"Grafana refused {method} {path}", where=self.url, last=f"{reply.status_code} {reply.text[:200]}"
            )
        return reply.json()


def install(ctx: StackContext) -> None:
    """Apply it with our datasources and dashboards; its password is made once for the environment."""
    monitoring.apply(
        ctx,
        "grafana",
        image=ctx.bundle.image("grafana"),
        node_port=monitoring.PORTS["grafana"],
        password=_password(ctx.env),
        dashboards={path.name: path.read_text() for path in sorted(DASHBOARDS.glob("*.json"))},
    )


def _password(env: Env) -> str:
    known = env.load().get("grafana_password")
    if known:
        return str(known)
    made = secrets.token_urlsafe(24)
    env.save(grafana_password=made)
    return made


def healthy(ctx: StackContext) -> str:
    """Empty when it serves and has all our dashboards."""
    missing = workloads_ready(ctx.kube, monitoring.NAMESPACE, "grafana")
    if missing:
        return missing
    try:
        found = connect(ctx.env, ctx.kube).get(f"/api/search?tag={TAG}")
    except DeployError as err:
        return str(err)
    wanted = len(list(DASHBOARDS.glob("*.json")))
    return "" if len(found) >= wanted else f"{len(found)} of {wanted} dashboards"


def connect(env: Env, kube: Kube) -> Grafana:
    """The environment's Grafana."""
    return Grafana(monitoring.node_url(kube, monitoring.PORTS["grafana"]), str(env.load().get("grafana_password", "")))


def check_dashboards(grafana: Grafana) -> list[PanelCheck]:
    """Ask the questions of every panel of our dashboards, as their pages would, and say which have answers."""
    found: list[PanelCheck] = []
    for entry in grafana.get(f"/api/search?tag={TAG}"):
        board = grafana.get(f"/api/dashboards/uid/{entry['uid']}")["dashboard"]
        found += [_check(grafana, board["title"], panel) for panel in board["panels"]]
    return found


def _check(grafana: Grafana, title: str, panel: Mapping[str, Any]) -> PanelCheck:
    body = {"from": "now-15m", "to": "now", "queries": list(_queries(panel["targets"]))}
    try:
        results = grafana.post("/api/ds/query", body)["results"]
    except DeployError as err:
        return PanelCheck(title, panel["title"], 0, str(err))
    errors = [str(r["error"]) for r in results.values() if r.get("error")]
    frames = [f for r in results.values() for f in r.get("frames") or ()]
    # The first column is the time.
    points = sum(len(column) for f in frames for column in (f.get("data") or {}).get("values", [])[1:2])
    return PanelCheck(title, panel["title"], points, "; ".join(errors))


def _queries(targets: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for target in targets:
        expr = str(target["expr"])
        for name, value in ALL.items():
            expr = expr.replace(name, value)
        yield {**target, "expr": expr, "intervalMs": 15000, "maxDataPoints": 100, "maxLines": 100}


def annotate(grafana: Grafana, text: str, start_wall_s: float, end_wall_s: float, tags: Sequence[str] = ()) -> int:
    """Mark a window (a fault) on all our dashboards; return the annotation's id.

    Raises:
        DeployError: Grafana is not there, or refused it.
    """
    body = {
        "text": text,
        "time": int(start_wall_s * 1000),
        "timeEnd": int(end_wall_s * 1000),
        "tags": [TAG, *tags],
    }
    return int(grafana.post("/api/annotations", body)["id"])


def annotate_faults(grafana: Grafana, history: History) -> int:
    """Mark every fault window of a history, from injection until it was seen to be gone; return how many.

    Raises:
        DeployError: Grafana is not there, or refused one.
    """
    started: dict[str, Record] = {}
    windows: list[tuple[str, float, float]] = []
    for record in history.of("fault"):
        name = str(record.data.get("fault", "fault"))
        if record.event == "injected":
            started[name] = record
        elif record.event in {"gone", "dirty"} and name in started:
            windows.append((name, started.pop(name).wall_s, record.wall_s))
    end_s = history.records[-1].wall_s if history.records else 0.0
    windows += [(name, record.wall_s, end_s) for name, record in started.items()]
    for name, start_s, stop_s in windows:
        annotate(grafana, f"{name} ({history.header.scenario})", start_s, stop_s, [name])
    return len(windows)


COMPONENT = Component(
    "grafana",
    install,
    healthy,
    needs=("calico", "coredns"),
    optional=True,
    version=lambda ctx: ctx.bundle.versions["grafana"],
)
