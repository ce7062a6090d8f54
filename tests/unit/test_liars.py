"""The liars' suite: each history lies in one way; the judge must answer FAIL or UNKNOWN, never PASS.

The honest history passes first, so that each verdict is due to its one lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import histories as h
import pytest

from harness.history import History, Record, read_history
from harness.judge import (
    PROFILES,
    Clause,
    Context,
    ScenarioResult,
    Verdict,
    heals,
    judge,
    log_never,
    must_fire,
    must_not_fire,
    must_resolve,
    no_outage,
    nothing_else_fires,
    outage_seen,
    recovers,
    users,
)

CTX = Context(PROFILES["fast"], h.KNOWN)
LOUD: tuple[Clause, ...] = (
    must_fire("CartServiceDown", {"severity": "critical"}),
    must_resolve("CartServiceDown"),
    nothing_else_fires(),
    recovers("cartservice"),
    users(after="recovery", errors_below=0.01, p95_below_s=3),
    log_never("panic"),
)
QUIET: tuple[Clause, ...] = (
    must_not_fire("CartServiceDown"),
    nothing_else_fires(),
    recovers("cartservice"),
    users(phase="recovery", errors_below=0.2),
    log_never("panic"),
)
HEAL: tuple[Clause, ...] = (heals("Deployment", "cartservice"), recovers("cartservice"))


def blind(*sources: str, lo: float = 24, hi: float = 45) -> Callable[[History], History]:
    """These sources do not answer between `lo` and `hi`."""

    def lie(history: History) -> History:
        def edit(r: Record) -> Record:
            if r.source in sources and r.event == "poll" and lo <= r.t_s <= hi:
                return replace(r, data={"ok": False, "error": "connection refused"})
            return r

        return h.doctored(history, edit)

    return lie


def silent(source: str) -> Callable[[History], History]:
    """The component behind `source` is down all the time: it does not answer and nothing comes from it."""
    return lambda history: h.without(history, source)


def no_state_metrics(history: History) -> History:
    return h.changed(history, "prom", "poll", {"down": ["kube-state-metrics"]})


def rules_without(name: str) -> Callable[[History], History]:
    rules = [{"name": a, "for_s": 10, "labels": {}} for a in h.ALERTS if a != name]

    def lie(history: History) -> History:
        fewer = h.changed(history, "prom", "rules", {"rules": rules})
        return h.without(h.without(fewer, "prom", "alert", name=name), "receiver", "delivered", name=name)

    return lie


def renamed(history: History) -> History:
    rules = [{"name": a.replace("CartServiceDown", "CartDown"), "for_s": 10, "labels": {}} for a in h.ALERTS]
    out = h.changed(history, "prom", "rules", {"rules": rules})
    out = h.changed(out, "prom", "alert", {"name": "CartDown"}, name="CartServiceDown")
    return h.changed(out, "receiver", "delivered", {"name": "CartDown"}, name="CartServiceDown")


def relabelled(**labels: str) -> Callable[[History], History]:
    """The rule still fires, but its labels are not those that on-call is routed by."""

    def lie(history: History) -> History:
        new = {"namespace": h.NAMESPACE, "severity": "critical", "alertname": "CartServiceDown", **labels}
        new = {k: v for k, v in new.items() if v}
        rules = [{"name": a, "for_s": 10, "labels": labels} for a in h.ALERTS]
        out = h.changed(history, "prom", "rules", {"rules": rules})
        out = h.changed(out, "prom", "alert", {"labels": new}, name="CartServiceDown")
        return h.changed(out, "receiver", "delivered", {"labels": new}, name="CartServiceDown")

    return lie


def firing_before(history: History) -> History:
    labels = {"namespace": h.NAMESPACE, "severity": "critical"}
    early = Record(
        5, h.WALL_S + 5, "prom", "alert", 1, {"name": "CartServiceDown", "labels": labels, "state": "firing"}
    )
    return replace(history, records=tuple(sorted((*history.records, early), key=lambda r: r.t_s)))


def put_back_by_us(at_s: float) -> Callable[[History], History]:
    """The harness itself began to put the drift back before the live objects were seen healed."""

    def lie(history: History) -> History:
        target = {"kind": "Deployment", "namespace": h.NAMESPACE, "name": "cartservice"}
        ours = Record(at_s, h.WALL_S + at_s, "fault", "reverting", 0, {"fault": "gitops.drift-scale", "target": target})
        return replace(history, records=tuple(sorted((*history.records, ours), key=lambda r: r.t_s)))

    return lie


def does_nothing(history: History) -> History:
    """Injected with exit code 0, never proven."""
    return h.without(history, "fault", "proven")


def unproven(history: History) -> History:
    out = h.doctored(history, lambda r: replace(r, event="unproven") if r.event == "proven" else r)
    return out


def no_fault_at_all(history: History) -> History:
    return h.without(history, "fault")


def wrong_target(history: History) -> History:
    """Proven, but on another object than the one it was meant for."""
    other = {**h.CART, "name": "frontend-xyz", "uid": "u-frontend-1"}
    return h.changed(history, "fault", "proven", {"target": other})


def wrong_app(history: History) -> History:
    """Meant for and proven on a pod outside the blast radius."""
    other = {**h.CART, "name": "adservice-xyz", "uid": "u-ad-1"}
    out = h.changed(history, "fault", "injected", {"target": other})
    return h.changed(out, "fault", "proven", {"target": other})


def other_boutique(history: History) -> History:
    other = {**h.CART, "namespace": "boutique-w1"}
    out = h.changed(history, "fault", "injected", {"target": other})
    return h.changed(out, "fault", "proven", {"target": other})


def nothing_fell(history: History) -> History:
    """The fault is 'proven', yet no pod of the cart was ever seen to suffer."""

    def edit(r: Record) -> Record | None:
        return None if r.source == "k8s" and r.event in ("pod", "deployment") and r.t_s > 1 else r

    return h.doctored(history, edit)


def load_died(history: History) -> History:
    out = h.doctored(history, lambda r: None if r.source == "load" and r.event == "request" and r.t_s > 45 else r)
    return h.doctored(out, lambda r: replace(r, t_s=45.0) if (r.source, r.event) == ("load", "end") else r)


def load_stalled(history: History) -> History:
    stalled = lambda r: r.source == "load" and r.event == "request" and 40 < r.t_s < 60  # noqa: E731
    return h.doctored(history, lambda r: None if stalled(r) else r)


def load_crashed(history: History) -> History:
    return h.changed(history, "load", "end", {"exit_code": -9})


def clock_step(history: History) -> History:
    return h.doctored(history, lambda r: replace(r, wall_s=r.wall_s + 30) if r.t_s > 40 else r)


def slow_clock_drift(history: History) -> History:
    return h.doctored(history, lambda r: replace(r, wall_s=r.wall_s + r.t_s / 50))


def truncated(history: History) -> History:
    return replace(history, truncated=True)


def too_short(history: History) -> History:
    """The story ends before the alert could have shown."""

    def edit(r: Record) -> Record | None:
        if (r.source, r.event, r.data.get("name")) == ("story", "phase", "end"):
            return replace(r, t_s=22.0)
        return r if r.t_s <= 22 or r.event == "closed" else None

    return h.doctored(history, edit)


def watchdog_silent(history: History) -> History:
    return h.without(history, "prom", "alert", name="Watchdog")


def watchdog_stopped(history: History) -> History:
    stop = Record(30, h.WALL_S + 30, "prom", "alert", 1, {"name": "Watchdog", "labels": {}, "state": "inactive"})
    return replace(history, records=tuple(sorted((*history.records, stop), key=lambda r: r.t_s)))


def watchdog_not_delivered(history: History) -> History:
    """Prometheus says that the Watchdog fires, but on-call does not hear it any more."""
    return h.doctored(history, lambda r: None if r.data.get("name") == "Watchdog" and 5 < r.t_s < 95 else r)


def watch_lost(history: History) -> History:
    lost = Record(21, h.WALL_S + 21, "k8s", "stream", 0, {"resource": "pods", "state": "closed"})
    return replace(history, records=tuple(sorted((*history.records, lost), key=lambda r: r.t_s)))


def probe_stopped(history: History) -> History:
    return h.doctored(history, lambda r: None if r.source == "probe" and 35 < r.t_s < 50 else r)


def story_broke(history: History) -> History:
    broke = Record(30, h.WALL_S + 30, "story", "error", 0, {"text": "KeyError: 'cart'"})
    return replace(history, records=tuple(sorted((*history.records, broke), key=lambda r: r.t_s)))


def argocd_lies(history: History) -> History:
    """Argo CD says Synced/Healthy at once and for ever; the live object never comes back."""
    out = h.doctored(history, lambda r: None if r.source == "live" and r.event == "diff" and r.t_s > 21 else r)
    return h.changed(out, "argocd", "app", {"sync": "Synced", "health": "Healthy"})


def argocd_lies_and_pods_return(history: History) -> History:
    """The pods come back, but something else still differs from Git while Argo CD says Synced/Healthy."""
    out = h.changed(history, "live", "diff", {"equal": False, "differing": ["Service/cartservice"]}, equal=True)
    early = {"equal": True, "healthy": True, "differing": []}
    return h.doctored(
        out, lambda r: replace(r, data=early) if r.source == "live" and r.event == "diff" and r.t_s < 1 else r
    )


def heal_undone(history: History) -> History:
    again = {"equal": False, "healthy": True, "differing": ["Deployment/cartservice"]}
    late = Record(40, h.WALL_S + 40, "live", "diff", 0.25, again)
    return replace(history, records=tuple(sorted((*history.records, late), key=lambda r: r.t_s)))


def drift_unseen(history: History) -> History:
    return h.doctored(
        history, lambda r: None if (r.source, r.event) == ("live", "diff") and not r.data["healthy"] else r
    )


def residue(history: History) -> History:
    return h.doctored(
        history,
        lambda r: replace(r, event="dirty", data={**r.data, "residue": ["iptables rule"]}) if r.event == "clean" else r,
    )


LIARS: dict[str, tuple[Callable[[History], History], str]] = {
    # how it lies -> the doctoring, and which histories it lies in: l(oud), q(uiet), h(eal)
    "fault does nothing": (does_nothing, "lq"),
    "fault unproven": (unproven, "lq"),
    "no fault at all": (no_fault_at_all, "lq"),
    "fault proven on another object": (wrong_target, "lq"),
    "fault outside the blast radius": (wrong_app, "lq"),
    "fault in another Boutique": (other_boutique, "lq"),
    "fault without a victim": (nothing_fell, "lq"),
    "Prometheus down for a while": (blind("prom"), "lq"),
    "Alertmanager down for a while": (blind("alertmanager"), "lq"),
    "receiver down for a while": (blind("receiver"), "lq"),
    "Loki down for a while": (blind("log"), "lq"),
    "live comparison down for a while": (blind("live"), "h"),
    "Prometheus never there": (silent("prom"), "lq"),
    "Alertmanager never there": (silent("alertmanager"), "lq"),
    "receiver never there": (silent("receiver"), "lq"),
    "Loki never there": (silent("log"), "lq"),
    "kube-state-metrics down": (no_state_metrics, "lq"),
    "Argo CD never asked": (silent("argocd"), "lq"),
    "live objects never compared": (silent("live"), "lqh"),
    "alert rule removed": (rules_without("CartServiceDown"), "lq"),
    "alert rule renamed": (renamed, "lq"),
    "severity label changed": (relabelled(severity="info"), "l"),
    "namespace label dropped": (relabelled(namespace=""), "l"),
    "namespace label wrong": (relabelled(namespace="boutique-w9"), "lq"),
    "alert already firing": (firing_before, "lq"),
    "load died half-way": (load_died, "lq"),
    "load stalled": (load_stalled, "lq"),
    "load crashed": (load_crashed, "lq"),
    "clock stepped": (clock_step, "lqh"),
    "clock drifted": (slow_clock_drift, "lqh"),
    "history truncated": (truncated, "lqh"),
    "window too short": (too_short, "lqh"),
    "Watchdog silent": (watchdog_silent, "lq"),
    "Watchdog stopped": (watchdog_stopped, "lq"),
    "Watchdog not delivered": (watchdog_not_delivered, "lq"),
    "pod watch lost": (watch_lost, "lqh"),
    "probe stopped": (probe_stopped, "lqh"),
    "story broke off": (story_broke, "lqh"),
    "fault left residue": (residue, "lq"),
    "Argo CD says Synced Healthy, live differs": (argocd_lies, "h"),
    "Argo CD says Synced Healthy, another object differs": (argocd_lies_and_pods_return, "h"),
    "healed, then drifted again": (heal_undone, "h"),
    "drift never seen live": (drift_unseen, "h"),
    "drift put back by the harness": (put_back_by_us(22), "h"),
}
STORIES: dict[str, tuple[Callable[[], History], tuple[Clause, ...]]] = {
    "l": (h.cart_kept_down, LOUD),
    "q": (h.cart_killed_once, QUIET),
    "h": (h.drift_healed, HEAL),
}
CASES = [(name, story) for name, (_, stories) in LIARS.items() for story in stories]


@cache
def honest(story: str) -> History:
    return STORIES[story][0]()


def verdict_of(story: str, lie: Callable[[History], History] = lambda x: x) -> ScenarioResult:
    return judge(lie(honest(story)), STORIES[story][1], CTX)


@pytest.mark.parametrize("story", STORIES)
def test_the_honest_story_passes(story: str) -> None:
    result = verdict_of(story)
    assert (result.verdict, result.why) == (Verdict.PASS, result.findings[0].why)


@pytest.mark.parametrize(("name", "story"), CASES, ids=[f"{n} [{s}]" for n, s in CASES])
def test_a_liar_never_passes(name: str, story: str) -> None:
    result = verdict_of(story, LIARS[name][0])
    assert result.verdict is not Verdict.PASS, [(str(f.verdict), f.clause, f.why) for f in result.findings]
    assert result.why


@pytest.mark.parametrize(
    ("lie", "story", "verdict", "words"),
    [
        (rules_without("CartServiceDown"), "l", Verdict.FAIL, "no rule named CartServiceDown is loaded"),
        (renamed, "l", Verdict.FAIL, "never told"),
        (relabelled(severity="info"), "l", Verdict.FAIL, "other labels"),
        (argocd_lies, "h", Verdict.UNKNOWN, "within its budget"),
        (residue, "l", Verdict.FAIL, "iptables rule"),
        (does_nothing, "l", Verdict.UNKNOWN, "never proven"),
        (wrong_target, "l", Verdict.UNKNOWN, "meant for cartservice-abc but hit frontend-xyz"),
        (blind("prom"), "l", Verdict.UNKNOWN, "Prometheus saw nothing from 23 s to 45 s"),
        (no_state_metrics, "q", Verdict.UNKNOWN, "kube-state-metrics"),
        (clock_step, "l", Verdict.UNKNOWN, "clock stepped by +30.0 s"),
        (truncated, "q", Verdict.UNKNOWN, "cut off"),
        (load_died, "l", Verdict.UNKNOWN, "the load ended at 45 s"),
        (watchdog_not_delivered, "l", Verdict.UNKNOWN, "should hear the Watchdog, saw nothing from 0 s to 115 s"),
        (firing_before, "q", Verdict.UNKNOWN, "already firing"),
    ],
)
def test_a_liar_is_named_in_words(lie: Callable[[History], History], story: str, verdict: Verdict, words: str) -> None:
    result = verdict_of(story, lie)
    assert result.verdict is verdict
    assert any(words in f.why for f in result.findings if f.verdict is verdict), [f.why for f in result.findings]


def test_argo_cd_lying_past_the_heal_bound_fails() -> None:
    """The platform was seen to say Synced/Healthy with 0 pods; past the bound that is a FAIL, and the word is named."""
    result = judge(argocd_lies(h.drift_healed()), [heals("Deployment", "cartservice", within_s=20)], CTX)
    assert result.verdict is Verdict.FAIL
    assert "although Argo CD says Synced Healthy" in result.why


def test_a_killed_runner_leaves_a_history_that_is_unknown(tmp_path: object) -> None:
    from pathlib import Path

    path = h.write(h.cart_kept_down(LOUD), Path(str(tmp_path)) / "history.jsonl")
    whole = path.read_bytes()
    for size in range(len(whole) - 200, len(whole) - 2, 23):
        path.write_bytes(whole[:size])
        assert judge(read_history(path), None, CTX).verdict is Verdict.UNKNOWN


def test_an_expected_outage_that_did_not_come_fails() -> None:
    result = judge(h.cart_killed_once("hardened"), [outage_seen()], CTX)
    assert (result.verdict, "no outage" in result.why) == (Verdict.FAIL, True)


def test_a_forbidden_outage_fails_even_if_the_probe_stopped_later() -> None:
    cut = h.doctored(h.cart_killed_once(), lambda r: None if r.source == "probe" and r.t_s > 40 else r)
    result = judge(cut, [no_outage()], CTX)
    assert (result.verdict, "outage of 3.8 s" in result.why) == (Verdict.FAIL, True)


def test_what_the_harness_put_back_was_not_healed() -> None:
    """Before the budget was over: cannot tell. After it: the platform failed. There is no figure either way."""
    for within_s, expected, words in ((20, Verdict.UNKNOWN, "put it back itself"), (1, Verdict.FAIL, "still differs")):
        clause = heals("Deployment", "cartservice", within_s=within_s)
        result = judge(put_back_by_us(22)(h.drift_healed()), [clause], CTX)
        assert result.findings[0].verdict is expected, result.findings[0]
        assert words in result.findings[0].why
        assert not [f for f in result.figures if f.name == "drift_self_heal_time"]
