"""Swim lanes: who was in which state when, from a history; drawn by `charts`, told in words by the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.history import Record
from harness.judge.alerts import ALWAYS_FIRING
from harness.judge.facts import POLLED, Facts
from harness.judge.users import outages

MAX_PODS = 10
MAX_QUIET = 3  # lanes that show only that nothing happened
_SYMBOLS = {"injected": "triangle-down", "proven": "x", "reverted": "triangle-up", "gone": "circle", "clean": "star"}


@dataclass(frozen=True)
class Segment:
    """A lane was in a state from `start_s` to `end_s`. Kinds: good, warn, bad, idle, info."""

    lane: str
    start_s: float
    end_s: float
    kind: str
    text: str


@dataclass(frozen=True)
class Moment:
    """Something that happened at one time on a lane."""

    lane: str
    t_s: float
    text: str
    symbol: str = "circle"


@dataclass(frozen=True)
class Lanes:
    """All lanes of a scenario, top to bottom."""

    names: tuple[str, ...]
    segments: tuple[Segment, ...]
    moments: tuple[Moment, ...]


def lanes(facts: Facts) -> Lanes:
    """The lanes that have something to show."""
    segments: list[Segment] = [Segment("Story", p.start_s, p.end_s, "info", p.name) for p in facts.phases]
    moments: list[Moment] = []
    for draw in (_fault, _pushes, _pods, _endpoints, _alerts, _gitops, _users, _nodes, _blind):
        more, points = draw(facts)
        segments += more
        moments += points
    end_s = facts.end_s
    kept = [
        Segment(s.lane, max(s.start_s, 0), min(s.end_s, end_s), s.kind, s.text)
        for s in segments
        if s.start_s < end_s and s.end_s > s.start_s
    ]
    points = [m for m in moments if m.t_s <= end_s + 2]
    used = {s.lane for s in kept} | {m.lane for m in points}
    first: list[str] = [n for n in ("Story", "Fault", "Git") if n in used]
    names = dict.fromkeys(first)
    names.update(dict.fromkeys([s.lane for s in kept] + [m.lane for m in points]))
    return Lanes(tuple(names), tuple(kept), tuple(points))


Drawn = tuple[list[Segment], list[Moment]]


def _states(
    lane: str, records: Sequence[Record], end_s: float, state: Callable[[dict[str, Any]], tuple[str, str]]
) -> list[Segment]:
    """A segment for each stretch of equal state."""
    found: list[Segment] = []
    ends = [*(r.t_s for r in records[1:]), end_s]
    for here, after in zip(records, ends, strict=False):  # no records: no segments
        kind, text = state(here.data)
        if found and (found[-1].kind, found[-1].text, found[-1].end_s) == (kind, text, here.t_s):
            found[-1] = Segment(lane, found[-1].start_s, after, kind, text)
        else:
            found.append(Segment(lane, here.t_s, after, kind, text))
    return [s for s in found if s.kind]


def _fault(facts: Facts) -> Drawn:
    segments, moments = [], []
    for proven in facts.history.of("fault", "proven"):
        name = str(proven.data.get("fault"))
        undone = facts.history.first("fault", "reverted", fault=name)
        target = str((proven.data.get("target") or {}).get("name", ""))
        end_s = undone.t_s if undone else proven.t_s + 0.5
        segments.append(Segment("Fault", proven.t_s, end_s, "bad", f"{name}: {target}"))
    for r in facts.history.of("fault"):
        if r.event in _SYMBOLS or r.event in ("unproven", "dirty"):
            text = f"{r.data.get('fault')} {r.event}"
            moments.append(Moment("Fault", r.t_s, text, _SYMBOLS.get(r.event, "x-open")))
    moments += [
        Moment("Fault", r.t_s, f"drift: {r.data.get('kind')} {r.data.get('name')}: {r.data.get('change')}", "diamond")
        for r in facts.history.of("drift", "accepted")
    ]
    return segments, moments


def _pushes(facts: Facts) -> Drawn:
    found = [
        Moment(
            "Git",
            r.t_s,
            f"push {r.data.get('purpose')} {r.data.get('version') or ''} accepted".replace("  ", " "),
            "diamond",
        )
        for r in facts.history.of("git", "push_accepted")
    ]
    return [], found


def _pods(facts: Facts) -> Drawn:
    pods: dict[str, list[Record]] = {}
    for r in facts.history.of("k8s", "pod"):
        if r.data.get("app") in facts.blast_radius:
            pods.setdefault(str(r.data.get("uid")), []).append(r)
    segments: list[Segment] = []
    names: dict[str, int] = {}
    # The pods that changed say it all; where none did, a few show that they were well.
    loud = [u for u in pods if len(pods[u]) > 1 or pods[u][0].t_s > facts.attempted_s]
    quiet = [u for u in pods if u not in loud]
    chosen = sorted(loud, key=lambda u: pods[u][0].t_s)[:MAX_PODS] or quiet[:MAX_QUIET]
    for uid in chosen:
        app = str(pods[uid][0].data.get("app"))
        names[app] = names.get(app, 0) + 1
        gone = [i for i, r in enumerate(pods[uid]) if r.data.get("phase") == "Gone"]
        seen = pods[uid][: gone[0] + 1] if gone else pods[uid]
        segments += _states(f"Pod {app} {names[app]}", seen, facts.end_s, _pod_state)
    segments.sort(key=lambda s: s.lane)
    return segments, []


def _pod_state(d: dict[str, Any]) -> tuple[str, str]:
    if d.get("phase") == "Gone":
        return "", ""
    if d.get("deleting"):
        return "idle", "terminating"
    version = f" {d['version']}" if d.get("version") else ""
    if d.get("ready"):
        return "good", f"ready{version}"
    return "warn", f"{d.get('reason') or 'not ready'}{version}"


def _endpoints(facts: Facts) -> Drawn:
    found: list[list[Segment]] = []
    for app in facts.blast_radius:
        records = [r for r in facts.history.of("k8s", "endpoints") if r.data.get("service") == app]
        earlier = [int(r.data.get("ready") or 0) for r in records if r.t_s <= facts.attempted_s]
        usual = earlier[-1] if earlier else 1

        def state(d: dict[str, Any], usual: int = usual) -> tuple[str, str]:
            ready = int(d.get("ready") or 0)
            return ("good" if ready >= usual else "warn" if ready else "bad"), f"{ready} of {usual}"

        found.append(_states(f"Endpoints {app}", records, facts.end_s, state))
    loud = [s for s in found if len(s) > 1]
    return [s for lane in (loud or found[:MAX_QUIET]) for s in lane], []


def _alerts(facts: Facts) -> Drawn:
    segments: list[Segment] = []
    moments: list[Moment] = []
    names = dict.fromkeys(str(r.data.get("name")) for r in facts.history.of("prom", "alert"))
    names.update(dict.fromkeys(str(r.data.get("name")) for r in facts.history.of("receiver", "delivered")))
    kinds = {"pending": ("warn", "pending"), "firing": ("bad", "firing")}
    for name in (n for n in names if n not in ALWAYS_FIRING):
        states = facts.alert_states(name)
        told = sorted([*facts.deliveries("firing", name), *facts.deliveries("resolved", name)], key=lambda r: r.t_s)
        segments += _states(name, states, facts.end_s, lambda d: kinds.get(str(d.get("state")), ("", "")))
        moments += [
            Moment(f"on-call: {name}", r.t_s, f"on-call told: {name} {r.data.get('status')}", "star") for r in told
        ]
        segments += _states(
            f"on-call: {name}",
            told,
            facts.end_s,
            lambda d: ("bad", "told") if d.get("status") == "firing" else ("", ""),
        )
    return segments, moments


def _gitops(facts: Facts) -> Drawn:
    def word(d: dict[str, Any]) -> tuple[str, str]:
        text = f"{d.get('sync')} {d.get('health')}"
        return ("good" if text == "Synced Healthy" else "warn"), text

    def live(d: dict[str, Any]) -> tuple[str, str]:
        if d.get("equal"):
            return ("good", "equals Git") if d.get("healthy") else ("warn", "equals Git, not healthy")
        return "bad", f"differs: {', '.join(map(str, d.get('differing', ())))}"

    segments = _states("Argo CD says", list(facts.history.of("argocd", "app")), facts.end_s, word)
    segments += _states("Live objects", list(facts.history.of("live", "diff")), facts.end_s, live)
    return segments, []


def _users(facts: Facts) -> Drawn:
    if not facts.probe:
        return [], []
    found: list[Segment] = []
    good_from_s = facts.probe[0].t_s
    for o in outages(facts.probe, facts.end_s):
        found.append(Segment("Users", good_from_s, o.start_s, "good", "served"))
        found.append(Segment("Users", o.start_s, o.end_s, "bad", f"outage, {o.requests} requests failed"))
        good_from_s = o.end_s
    found.append(Segment("Users", good_from_s, facts.end_s, "good", "served"))
    return found, []


def _nodes(facts: Facts) -> Drawn:
    nodes: dict[str, list[Record]] = {}
    for r in facts.history.of("k8s", "node"):
        nodes.setdefault(str(r.data.get("name")), []).append(r)

    def state(d: dict[str, Any]) -> tuple[str, str]:
        if not d.get("ready"):
            return "bad", "not ready"
        return ("good", "ready") if d.get("schedulable", True) else ("warn", "cordoned")

    drawn = {name: _states(f"Node {name}", records, facts.end_s, state) for name, records in nodes.items()}
    if drawn and all(len(s) == 1 and s[0].kind == "good" for s in drawn.values()):
        first_s = min(s[0].start_s for s in drawn.values())
        return [Segment("Nodes", first_s, facts.end_s, "good", f"{len(drawn)} ready")], []
    return [s for name in sorted(drawn) for s in drawn[name]], []


def _blind(facts: Facts) -> Drawn:
    seen: Iterable[str] = {r.source for r in facts.history.records if r.event == "poll" and r.source in POLLED}
    sources = [*sorted(seen), *(["probe"] if facts.probe else []), "k8s"]
    gaps = [g for s in sources for g in facts.gaps(s, facts.attempted_s, facts.end_s)]
    return [Segment("Blind sources", g.start_s, g.end_s, "idle", g.source) for g in gaps], []
