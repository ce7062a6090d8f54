"""What a history says, indexed for checks: phases, the disturbance, who could see when, alerts, users, step functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from harness.history import History, Record

GAP_S = 5.0  # a source that did not see for longer than this was blind
LOAD_GAP_S = 10.0
CLOCK_STEP_S = 0.5
POLLED = ("prom", "alertmanager", "receiver", "argocd", "live", "log")
KSM = "kube-state-metrics"
NAMES = {
    "prom": "Prometheus",
    "alertmanager": "Alertmanager",
    "receiver": "the alert receiver",
    "argocd": "Argo CD's watch",
    "live": "the comparison of live objects with Git",
    "log": "Loki",
    "probe": "the user probe",
    "load": "the load",
    "k8s": "the Kubernetes watch",
    "watchdog": "on-call, who should hear the Watchdog,",
}
WATCHDOG = "Watchdog"
WATCHDOG_MISSED = 2  # silent: not heard for this many times the interval in which it is repeated
ALERT_SOURCES = ("prom", KSM, "alertmanager", "receiver")


@dataclass(frozen=True)
class Phase:
    """A phase of the story and its window."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Gap:
    """A stretch in which a source could not see."""

    source: str
    start_s: float
    end_s: float
    why: str

    def __str__(self) -> str:
        return f"{NAMES.get(self.source, self.source)} saw nothing from {self.start_s:.0f} s to {self.end_s:.0f} s ({self.why})"


@dataclass(frozen=True)
class Step:
    """From `t_s` on (give or take `err_s`) a state was good or not."""

    t_s: float
    err_s: float
    good: bool
    text: str = ""


@dataclass(frozen=True)
class Request:
    """One user request: of the probe or of the shoppers."""

    t_s: float
    ok: bool
    took_s: float
    status: int
    version: str
    error: str


class Facts:
    """A history, indexed. All times are seconds on the history's clock."""

    def __init__(self, history: History) -> None:
        self.history = history
        start = history.first("story", "start")
        self.start: dict[str, Any] = dict(start.data) if start else {}
        self.namespace = str(self.start.get("namespace", ""))
        self.blast_radius = tuple(str(n) for n in self.start.get("blast_radius", ()))

    @cached_property
    def end_s(self) -> float:
        """The end of what is judged: the phase `end`, or the last record."""
        end = self.history.first("story", "phase", name="end") or self.history.first("story", "closed")
        return end.t_s if end else max((r.t_s for r in self.history.records), default=0.0)

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """Baseline, fault, recovery: each until the next."""
        marks = [(str(r.data.get("name")), r.t_s) for r in self.history.of("story", "phase")]
        marks.append(("end", self.end_s))
        return tuple(Phase(a[0], a[1], b[1]) for a, b in pairwise(marks) if a[0] != "end" and b[1] > a[1])

    def phase(self, name: str) -> Phase | None:
        """The phase of that name."""
        return next((p for p in self.phases if p.name == name), None)

    @cached_property
    def disturbance(self) -> Record | None:
        """What the story did: a proven fault, else a drift, else a push, else the phase `fault` itself.

        A bad push takes effect with the first pod that it makes.
        """
        git = (r for r in self.history.of("git", "push_accepted") if r.data.get("purpose") in ("bad", "release"))
        push = next(git, None)
        if push is not None and push.data.get("purpose") == "bad":
            pods = self.history.of("k8s", "pod")
            made = (r for r in pods if r.t_s >= push.t_s and r.data.get("version") == push.data.get("version"))
            push = next(made, push)
        return (
            self.history.first("fault", "proven")
            or self.history.first("drift", "accepted")
            or push
            or self.history.first("story", "phase", name="fault")
        )

    @cached_property
    def attempted_s(self) -> float:
        """When the story first touched the system; before that all must have been quiet."""
        names = {("fault", "injected"), ("drift", "accepted"), ("git", "push_accepted")}
        hits = [
            r.t_s for r in self.history.records if (r.source, r.event) in names and r.data.get("purpose") != "deploy"
        ]
        phase = self.phase("fault")
        return min([*hits, *([phase.start_s] if phase else [])], default=self.end_s)

    # --- who could see -------------------------------------------------------------------------------------------

    @cached_property
    def _good_polls(self) -> dict[str, list[float]]:
        seen: dict[str, list[float]] = {s: [] for s in POLLED}
        seen[KSM] = []
        for r in self.history.records:
            if r.event == "poll" and r.source in seen and r.data.get("ok"):
                seen[r.source].append(r.t_s)
                if r.source == "prom" and KSM not in r.data.get("down", [KSM]):
                    seen[KSM].append(r.t_s)
        seen["probe"] = [q.t_s for q in self.probe]
        seen["load"] = [q.t_s for q in self.load]
        return seen

    def _waited(self, source: str, lo_s: float, hi_s: float) -> bool:
        """Whether one request was under way all the time: users who wait are no dead load."""
        requests = self.load if source == "load" else ()
        return any(q.t_s <= lo_s + 0.5 and q.t_s + q.took_s >= hi_s - 0.5 for q in requests)

    def gaps(self, source: str, lo_s: float, hi_s: float) -> list[Gap]:
        """Where `source` was blind within the window."""
        if source == "k8s":
            return self._watch_gaps(lo_s, hi_s)
        seen = self._good_polls.get(source, [])
        if not seen:
            return [Gap(source, lo_s, hi_s, "it was never seen to answer")]
        longest_s = LOAD_GAP_S if source == "load" else GAP_S
        points = [lo_s, *(t for t in seen if lo_s < t < hi_s), hi_s]
        return [
            Gap(source, a, b, "no answer")
            for a, b in pairwise(points)
            if b - a > longest_s and not self._waited(source, a, b)
        ]

    def _watch_gaps(self, lo_s: float, hi_s: float) -> list[Gap]:
        closed: dict[str, float] = {}
        found: list[Gap] = []
        opened: set[str] = set()
        for r in self.history.of("k8s", "stream"):
            what, state = str(r.data.get("resource")), r.data.get("state")
            if state == "closed":
                closed.setdefault(what, r.t_s)
                continue
            if what not in opened and r.t_s > lo_s:
                found.append(Gap("k8s", lo_s, min(r.t_s, hi_s), f"the watch of {what} opened late"))
            opened.add(what)
            since = closed.pop(what, None)
            if since is not None and r.t_s - since > GAP_S and r.t_s > lo_s and since < hi_s:
                found.append(Gap("k8s", max(since, lo_s), min(r.t_s, hi_s), f"the watch of {what} was closed"))
        found += [
            Gap("k8s", max(t, lo_s), hi_s, f"the watch of {what} never came back")
            for what, t in closed.items()
            if hi_s - max(t, lo_s) > GAP_S
        ]
        return found if opened else [Gap("k8s", lo_s, hi_s, "no watch was open")]

    def blind(self, sources: Iterable[str], lo_s: float, hi_s: float) -> list[Gap]:
        """The gaps of all `sources` in the window (which is cut at the history's end)."""
        hi_s = min(hi_s, self.end_s)
        found = [g for s in sources for g in self.gaps(s, min(lo_s, hi_s), hi_s)]
        if "prom" in sources and not self.watchdog_fires:
            found.append(Gap("the Watchdog", lo_s, hi_s, "the alert that always fires did not: alerting is dead"))
        return found

    @cached_property
    def watchdog_fires(self) -> bool:
        """Whether the alert that must always fire is firing, and never stopped."""
        states = [r.data.get("state") for r in self.history.of("prom", "alert") if r.data.get("name") == WATCHDOG]
        return bool(states) and states[-1] == "firing" and "inactive" not in states

    @cached_property
    def watchdog_every_s(self) -> float | None:
        """How often on-call is told that alerting works; None when the history does not say."""
        every_s = (self.start.get("timing") or {}).get("watchdog_s")
        return None if every_s is None else float(every_s)

    @property
    def watchdog_limit_s(self) -> float:
        """Not hearing the Watchdog for longer than this is silence."""
        return WATCHDOG_MISSED * (self.watchdog_every_s or float("inf"))

    def watchdog_silences(self) -> list[Gap]:
        """Where on-call did not hear the Watchdog for longer than its limit."""
        heard = [r.t_s for r in self.deliveries("firing", WATCHDOG)]
        points = [0.0, *(t for t in heard if 0.0 < t < self.end_s), self.end_s]
        why = "it was not delivered: no other alert would have been"
        return [Gap("watchdog", a, b, why) for a, b in pairwise(points) if b - a > self.watchdog_limit_s]

    # --- alerts --------------------------------------------------------------------------------------------------

    def ours(self, labels: dict[str, Any]) -> bool:
        """Whether an alert with these labels concerns this story: not one of another Boutique."""
        place = str(labels.get("namespace", ""))
        return place == self.namespace or not place.startswith("boutique")

    def alert_states(self, name: str | None = None, labels: dict[str, str] | None = None) -> list[Record]:
        """Prometheus' changes of state of our alerts (all, or one by name and labels)."""
        return [r for r in self.history.of("prom", "alert") if self._is(r, name, labels)]

    def deliveries(self, status: str, name: str | None = None, labels: dict[str, str] | None = None) -> list[Record]:
        """What reached the receiver."""
        found = self.history.of("receiver", "delivered")
        return [r for r in found if r.data.get("status") == status and self._is(r, name, labels)]

    def _is(self, r: Record, name: str | None, labels: dict[str, str] | None) -> bool:
        have = r.data.get("labels", {})
        wanted = (labels or {}).items()
        return (
            (name is None or r.data.get("name") == name)
            and self.ours(have)
            and all(have.get(k) == v for k, v in wanted)
        )

    @cached_property
    def rules(self) -> tuple[dict[str, Any], ...] | None:
        """The alert rules that were loaded all the time; None when nobody looked."""
        seen = [tuple(r.data.get("rules", ())) for r in self.history.of("prom", "rules")]
        if not seen:
            return None
        always = set.intersection(*({rule.get("name") for rule in rules} for rules in seen))
        return tuple(rule for rule in seen[-1] if rule.get("name") in always)

    # --- users ---------------------------------------------------------------------------------------------------

    @cached_property
    def probe(self) -> tuple[Request, ...]:
        """The probe's requests, in order."""
        return tuple(_request(r) for r in self.history.of("probe", "request"))

    @cached_property
    def load(self) -> tuple[Request, ...]:
        """The shoppers' requests, in order."""
        return tuple(_request(r) for r in self.history.of("load", "request"))

    # --- step functions over Kubernetes' and Argo CD's state -----------------------------------------------------

    def deployment(self, app: str) -> list[Record]:
        """The states of a Deployment."""
        return [r for r in self.history.of("k8s", "deployment") if r.data.get("name") == app]

    def pod_counts(self, app: str, counts: Callable[[dict[str, Any]], bool]) -> list[tuple[Record, int]]:
        """After each change of a pod of `app`: how many pods satisfy `counts`."""
        pods: dict[str, bool] = {}
        found: list[tuple[Record, int]] = []
        for r in self.history.of("k8s", "pod"):
            if r.data.get("app") == app:
                pods[str(r.data.get("uid"))] = counts(r.data)
                found.append((r, sum(pods.values())))
        return found

    def live_steps(self) -> list[Step]:
        """Live objects equal to Git and healthy, or not."""
        return [
            Step(
                r.t_s,
                r.err_s,
                bool(r.data.get("equal")) and bool(r.data.get("healthy")),
                ", ".join(map(str, r.data.get("differing", ()))),
            )
            for r in self.history.of("live", "diff")
        ]


def _request(r: Record) -> Request:
    d = r.data
    return Request(
        r.t_s,
        bool(d.get("ok")),
        float(d.get("ms") or 0) / 1000,
        int(d.get("status") or 0),
        str(d.get("version") or ""),
        str(d.get("error") or ""),
    )


def survivor(pod: dict[str, Any]) -> bool:
    """A pod that serves: ready and not terminating (a terminating pod is no survivor)."""
    return bool(pod.get("ready")) and not pod.get("deleting")


def before(records: Sequence[tuple[Record, int]], t_s: float) -> int | None:
    """The count in force just before `t_s`."""
    return next((n for r, n in reversed(records) if r.t_s <= t_s), None)


def fell_and_rose(steps: Sequence[Step], since_s: float) -> tuple[Step | None, Step | None]:
    """The first bad step at or after `since_s`, and the start of the last good stretch (None: bad at the end)."""
    after = [s for s in steps if s.t_s + s.err_s >= since_s]
    fell = next((s for s in after if not s.good), None)
    if fell is None or not after[-1].good:
        return fell, None
    last_bad = max(i for i, s in enumerate(after) if not s.good)
    return fell, after[last_bad + 1]


def clock_steps(history: History) -> list[tuple[float, float]]:
    """Where wall time and the monotonic clock parted by more than half a second: (t_s, by how many seconds)."""
    marks = [r.wall_s - r.t_s for r in history.records]
    found = [
        (r.t_s, marks[i + 1] - marks[i])
        for i, r in enumerate(history.records[1:])
        if abs(marks[i + 1] - marks[i]) > CLOCK_STEP_S
    ]
    if not found and marks and max(marks) - min(marks) > CLOCK_STEP_S:
        found.append((history.records[-1].t_s, max(marks) - min(marks)))
    return found
