"""Synthetic histories, as a real run would have written them; tests and the report's looks are made with these.

`Story` writes the records of an honest, healthy scenario; each test then doctors them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.history import Header, History, Record
from harness.judge import AlertInfo

WALL_S = 1_790_000_000.0
NAMESPACE = "boutique-w0"
ALERTS = ("CartServiceDown", "FrontendDown", "PodNotRunning", "NodeCPUHigh", "Watchdog")
KNOWN = {
    "CartServiceDown": AlertInfo("cartservice"),
    "FrontendDown": AlertInfo("frontend"),
    "PodNotRunning": AlertInfo(),
    "NodeCPUHigh": AlertInfo(cluster_wide=True),
    "Watchdog": AlertInfo(cluster_wide=True, for_s=0.0),
}
CART = {"kind": "Pod", "namespace": NAMESPACE, "name": "cartservice-abc", "uid": "u-cart-1", "node": "worker-0"}
Edit = Callable[[Record], Record | None]


@dataclass
class Story:
    """Builds records; every helper appends what the real recorders would write."""

    name: str = "cart-kept-down"
    title: str = "Losing the cart for longer than the rule waits reaches on-call"
    end_s: float = 120.0
    overlay: str = "stock"
    records: list[Record] = field(default_factory=list)

    def mark(self, t_s: float, source: str, event: str, err_s: float = 0.0, **data: Any) -> None:
        """Append one record."""
        self.records.append(Record(round(t_s, 3), round(WALL_S + t_s, 3), source, event, err_s, data))

    def begin(self, *, fault_s: float = 20, recovery_s: float = 60, blast: tuple[str, ...] = ("cartservice",)) -> None:
        """Start, phases, sources that see all the time, a healthy platform."""
        self.mark(
            0,
            "story",
            "start",
            title=self.title,
            test=f"scenarios/pods/test_{self.name}.py::test_it",
            namespace=NAMESPACE,
            app="boutique-w0",
            overlay=self.overlay,
            profile="fast",
            timing={"scrape_s": 5, "eval_s": 5, "for_s": 10, "group_wait_s": 5, "resolve_s": 5, "watchdog_s": 30},
            image_path="build",
            blast_radius=list(blast),
        )
        phases = (("baseline", 0.1), ("fault", fault_s), ("recovery", recovery_s), ("end", self.end_s))
        for name, t_s in phases:
            self.mark(t_s, "story", "phase", name=name)
        for resource in ("pods", "deployments", "endpoints", "events", "nodes"):
            self.mark(0.05, "k8s", "stream", resource=resource, state="open")
        rules = [{"name": a, "for_s": 10, "labels": {"severity": "critical"}} for a in ALERTS]
        self.mark(0.3, "prom", "rules", rules=rules)
        self.mark(0.3, "prom", "alert", name="Watchdog", labels={"severity": "none"}, state="firing")
        for t_s in range(10, int(self.end_s), 35):
            self.mark(t_s, "receiver", "delivered", 0.05, name="Watchdog", status="firing", labels={"severity": "none"})
        for second in range(int(self.end_s) + 2):
            t_s = second + 0.2
            self.mark(t_s, "prom", "poll", ok=True, ms=4, down=[])
            for source in ("alertmanager", "receiver", "argocd", "live", "log"):
                self.mark(t_s, source, "poll", ok=True)
        self.mark(0.4, "argocd", "app", sync="Synced", health="Healthy", revision="aaa111", heal_attempts=0)
        self.mark(0.4, "live", "diff", 0.25, equal=True, healthy=True, differing=[])
        for node in ("control-plane", "worker-0", "worker-1"):
            self.mark(0.2, "k8s", "node", name=node, ready=True, schedulable=True)
        self.mark(1.0, "log", "line", app="frontend", pod="frontend-x", text="request complete", stream="stdout")

    def app(self, name: str, replicas: int = 1, version: str = "v1") -> None:
        """A healthy app: its pods, Deployment and endpoints."""
        short = name.removesuffix("service")
        for n in range(1, replicas + 1):
            self.pod(0.2, name, f"u-{short}-{n}", ready=True, version=version)
        self.scaled(0.2, name, replicas, replicas)

    def pod(self, t_s: float, app: str, uid: str, *, ready: bool, deleting: bool = False, **more: Any) -> None:
        """A change of a pod."""
        data = {"phase": "Running", "node": "worker-0", "restarts": 0, "version": "v1", **more}
        self.mark(
            t_s, "k8s", "pod", 0.01, name=f"{app}-{uid[-5:]}", uid=uid, app=app, ready=ready, deleting=deleting, **data
        )

    def scaled(self, t_s: float, app: str, available: int, desired: int) -> None:
        """A change of a Deployment and its endpoints."""
        counts = {"ready": available, "available": available, "updated": desired, "generation": 1, "observed": 1}
        self.mark(t_s, "k8s", "deployment", 0.01, name=app, uid=f"d-{app}", desired=desired, **counts)
        self.mark(t_s + 0.02, "k8s", "endpoints", 0.01, service=app, ready=available)

    def probes(
        self, down: Iterable[tuple[float, float]] = (), versions: Iterable[tuple[float, str]] = ((0.0, "v1"),)
    ) -> None:
        """A request each 100 ms; those in `down` fail; pages carry the version of their time."""
        marks = sorted(versions)
        for n in range(1, int(self.end_s * 10)):
            t_s = n / 10
            bad = any(a <= t_s < b for a, b in down)
            version = [v for since, v in marks if since <= t_s][-1]
            ms = 22 + 8 * math.sin(n / 9) + (1400 if bad and n % 3 else 0)
            more = {"version": "", "error": "HTTP 500"} if bad else {"version": version}
            self.mark(t_s, "probe", "request", 0.05, ok=not bad, status=500 if bad else 200, ms=round(ms, 1), **more)

    def shoppers(self, down: Iterable[tuple[float, float]] = (), until_s: float | None = None) -> None:
        """Ten users of Locust, some five requests a second."""
        end_s = self.end_s + 1 if until_s is None else until_s
        self.mark(2, "load", "start", users=10, spawn_rate=10, duration_s=300)
        for n in range(10, int(end_s * 5)):
            t_s = n / 5
            bad = any(a <= t_s < b for a, b in down)
            ms = 45 + 25 * math.sin(n / 5) + (n % 17)
            self.mark(
                t_s, "load", "request", name="home", ok=not bad, status=500 if bad else 200, ms=round(ms, 1), error=""
            )
        self.mark(end_s, "load", "end", exit_code=0, requests=500, failures=3)

    def fault(self, t_s: float, name: str = "KeptDown", *, target: dict[str, str] | None = None) -> None:
        """A fault armed, injected and proven at `t_s`."""
        about = {"fault": name, "target": target or CART, "mechanism": "scale", "max_s": 120}
        self.mark(t_s - 0.4, "fault", "armed", **about)
        self.mark(t_s - 0.3, "fault", "injected", **about)
        self.mark(t_s, "fault", "proven", 0.02, **about, evidence="0 of 1 pods answer")

    def undone(self, t_s: float, name: str = "KeptDown") -> None:
        """The fault reverted, gone and clean."""
        about = {"fault": name, "target": CART, "mechanism": "scale", "max_s": 120}
        self.mark(t_s, "fault", "reverted", **about)
        self.mark(t_s + 0.3, "fault", "gone", **about)
        self.mark(t_s + 0.6, "fault", "clean", **about, residue=[])

    def alert(self, name: str, *, pending: float, firing: float, told: float, over: float, told_over: float) -> None:
        """The life of an alert at three layers."""
        labels = {"namespace": NAMESPACE, "severity": "critical", "alertname": name}
        for t_s, state in ((pending, "pending"), (firing, "firing"), (over, "inactive")):
            self.mark(
                t_s, "prom", "alert", 1.0, name=name, labels=labels, state=state, active_at_wall_s=WALL_S + pending
            )
        for t_s, status in ((told, "firing"), (told_over, "resolved")):
            self.mark(
                t_s, "receiver", "delivered", 0.05, name=name, status=status, labels=labels,
                starts_at_wall_s=WALL_S + firing, arrived_wall_s=WALL_S + t_s,
            )  # fmt: skip

    def history(self, contract: Iterable[Any] = ()) -> History:
        """The finished history; `contract` is stored in it."""
        self.mark(0.15, "story", "contract", clauses=[c.to_json() for c in contract])
        self.mark(self.end_s + 1, "story", "closed")
        ordered = tuple(sorted(self.records, key=lambda r: r.t_s))
        return History(Header(self.name, "run-1", WALL_S), ordered)


def cart_kept_down(contract: Iterable[Any] = ()) -> History:
    """The cart is down from 20 s to 60 s: pending, firing, delivered, resolved, recovered."""
    story = Story()
    story.begin()
    story.app("cartservice")
    story.app("frontend")
    story.fault(20)
    story.pod(19.9, "cartservice", "u-cart-1", ready=False, deleting=True)
    story.scaled(19.95, "cartservice", 0, 1)
    story.mark(20.5, "live", "diff", 0.25, equal=False, healthy=False, differing=["Deployment/cartservice"])
    story.mark(20.6, "argocd", "app", sync="OutOfSync", health="Progressing", revision="aaa111", heal_attempts=0)
    story.alert("CartServiceDown", pending=27, firing=37, told=43, over=70, told_over=76)
    story.undone(60)
    story.pod(60.8, "cartservice", "u-cart-2", ready=False)
    story.pod(63.1, "cartservice", "u-cart-2", ready=True)
    story.scaled(63.2, "cartservice", 1, 1)
    story.mark(64, "live", "diff", 0.25, equal=True, healthy=True, differing=[])
    story.mark(64.2, "argocd", "app", sync="Synced", health="Healthy", revision="aaa111", heal_attempts=0)
    story.mark(20.3, "k8s", "event", kind="Pod", name="cartservice-abc", reason="Killing",
               message="Stopping container server", type="Normal", count=1)  # fmt: skip
    story.mark(61, "k8s", "event", kind="Pod", name="cartservice-rt-2", reason="Scheduled",
               message="Successfully assigned", type="Normal", count=1)  # fmt: skip
    story.mark(25, "log", "line", app="frontend", pod="frontend-x", stream="stderr",
               text="could not retrieve cart: rpc error: code = Unavailable")  # fmt: skip
    story.probes(down=[(20.1, 63.4)])
    story.shoppers(down=[(20.1, 63.4)])
    return story.history(contract)


def cart_killed_once(overlay: str = "stock", contract: Iterable[Any] = ()) -> History:
    """One cart pod is killed and replaced; on `stock` users feel it, on `hardened` they do not."""
    name = f"cart-killed-{overlay}"
    story = Story(name, f"One cart pod dies on {overlay}", 70, overlay)
    replicas = 1 if overlay == "stock" else 2
    story.begin(recovery_s=21)
    story.app("cartservice", replicas)
    story.fault(20, "PodKilled")
    story.pod(19.95, "cartservice", "u-cart-1", ready=False, deleting=True)
    story.scaled(19.97, "cartservice", replicas - 1, replicas)
    story.pod(20.4, "cartservice", "u-cart-9", ready=False)
    story.pod(23.4, "cartservice", "u-cart-9", ready=True)
    story.scaled(23.5, "cartservice", replicas, replicas)
    story.mark(24, "fault", "clean", fault="PodKilled", target=CART, residue=[])
    down = [(20.1, 23.9)] if overlay == "stock" else []
    story.probes(down)
    story.shoppers(down)
    return story.history(contract)


def drift_healed(contract: Iterable[Any] = ()) -> History:
    """The cart is scaled to zero by hand; Argo CD undoes it."""
    story = Story("drift-scaled-to-zero", "A Deployment scaled to zero by hand is healed", 60)
    story.begin(recovery_s=21)
    story.app("cartservice")
    story.mark(20, "drift", "accepted", 0.005, kind="Deployment", namespace=NAMESPACE, name="cartservice",
               change="replicas 1 → 0")  # fmt: skip
    story.pod(20.3, "cartservice", "u-cart-1", ready=False, deleting=True)
    story.scaled(20.1, "cartservice", 0, 0)
    story.mark(
        20.2, "live", "diff", 0.1, equal=False, healthy=False, differing=["Deployment/cartservice spec.replicas"]
    )
    story.mark(20.9, "argocd", "app", sync="OutOfSync", health="Progressing", revision="aaa111", heal_attempts=1)
    story.mark(21.8, "live", "diff", 0.1, equal=True, healthy=False, differing=[])
    story.pod(21.9, "cartservice", "u-cart-5", ready=False)
    story.pod(24.2, "cartservice", "u-cart-5", ready=True)
    story.scaled(24.3, "cartservice", 1, 1)
    story.mark(24.4, "live", "diff", 0.1, equal=True, healthy=True, differing=[])
    story.mark(24.6, "argocd", "app", sync="Synced", health="Healthy", revision="aaa111", heal_attempts=1)
    story.probes([(20.5, 24.5)])
    return story.history(contract)


def released_v2(contract: Iterable[Any] = ()) -> History:
    """A new version is pushed and serves without an outage."""
    story = Story("release", "A pushed version reaches users", 70, "hardened")
    story.begin(recovery_s=40, blast=("frontend",))
    story.app("frontend", 2)
    story.mark(20, "git", "push_started", revision="bbb222", purpose="release", version="v2")
    story.mark(20.2, "git", "push_accepted", 0.01, revision="bbb222", purpose="release", version="v2")
    story.mark(21, "argocd", "app", sync="OutOfSync", health="Healthy", revision="bbb222", heal_attempts=0)
    for n, t_s in ((3, 22.0), (4, 27.0)):
        story.pod(t_s, "frontend", f"u-frontend-{n}", ready=False, version="v2")
        story.pod(t_s + 3, "frontend", f"u-frontend-{n}", ready=True, version="v2")
        story.pod(t_s + 3.5, "frontend", f"u-frontend-{n - 2}", ready=False, deleting=True)
    story.scaled(30.6, "frontend", 2, 2)
    story.mark(31, "argocd", "app", sync="Synced", health="Healthy", revision="bbb222", heal_attempts=0)
    story.probes(versions=[(0, "v1"), (25.5, "v2")])
    return story.history(contract)


def rolled_back(contract: Iterable[Any] = ()) -> History:
    """An image that does not exist is pushed; a revert undoes it."""
    story = Story("bad-image", "A bad image is detected and reverted", 90)
    story.begin(recovery_s=50, blast=("frontend",))
    story.app("frontend", 1)
    story.mark(20, "git", "push_accepted", 0.01, revision="ccc333", purpose="bad", version="v-bad")
    story.pod(23, "frontend", "u-frontend-2", ready=False, version="v-bad", phase="Pending", reason="ImagePullBackOff")
    story.pod(19.9, "frontend", "u-frontend-1", ready=True)
    story.mark(50, "git", "push_accepted", 0.01, revision="ddd444", purpose="revert", version="v1")
    story.pod(54, "frontend", "u-frontend-2", ready=False, version="v-bad", deleting=True)
    story.pod(54.6, "frontend", "u-frontend-1", ready=True, restarts=0)
    story.probes()
    return story.history(contract)


def doctored(history: History, edit: Edit) -> History:
    """The history with each record passed through `edit`; None removes it."""
    records = tuple(new for r in history.records if (new := edit(r)) is not None)
    return replace(history, records=records)


def without(history: History, source: str, event: str | None = None, **data: Any) -> History:
    """The history without such records."""

    def edit(r: Record) -> Record | None:
        same = r.source == source and event in (None, r.event)
        return None if same and all(r.data.get(k) == v for k, v in data.items()) else r

    return doctored(history, edit)


def changed(history: History, source: str, event: str, change: dict[str, Any], **where: Any) -> History:
    """The history with other data in such records."""

    def edit(r: Record) -> Record:
        same = (r.source, r.event) == (source, event) and all(r.data.get(k) == v for k, v in where.items())
        return replace(r, data={**r.data, **change}) if same else r

    return doctored(history, edit)


def write(history: History, path: Path) -> Path:
    """The history as the file that a run leaves."""
    head = history.header
    lines = [{"schema": head.schema, "scenario": head.scenario, "run": head.run, "start_wall_s": head.start_wall_s}]
    lines += [
        {"t_s": r.t_s, "wall_s": r.wall_s, "source": r.source, "event": r.event, "err_s": r.err_s, "data": r.data}
        for r in history.records
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    return path
