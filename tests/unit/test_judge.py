"""Contracts, budgets, findings and figures; the lies are in test_liars.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import histories as h
import pytest

from harness._errors import ContractError
from harness.history import History, Record
from harness.judge import (
    PROFILES,
    AlertInfo,
    Clause,
    Context,
    Facts,
    Finding,
    ScenarioResult,
    Verdict,
    contract_from_json,
    heals,
    judge,
    log_contains,
    log_never,
    may_be_blind,
    merge,
    must_fire,
    must_not_fire,
    must_resolve,
    no_outage,
    nothing_else_fires,
    outage_seen,
    profile,
    recovers,
    released,
    rolled_back,
    stays_below,
    untouched,
    users,
    watchdog_silent,
)
from harness.judge.contract import Context as ContractContext
from harness.judge.figures import Figure, aggregate
from harness.judge.metrics import KNOWN
from harness.judge.recovery import slo_restored
from harness.judge.users import outages, percentile
from harness.judge.verdict import compare, secs
from harness.observe.metrics import METRICS

CTX = Context(PROFILES["fast"], h.KNOWN)
WORDS: list[Clause] = [
    must_fire("CartServiceDown", {"severity": "critical"}),
    must_resolve("CartServiceDown"),
    must_not_fire("FrontendDown"),
    nothing_else_fires(allow=["PodNotRunning"]),
    heals("Deployment", "cartservice"),
    recovers("cartservice", within_s=40),
    users(after="recovery", errors_below=0.01, p95_below_s=3),
    no_outage(tolerate_s=0.2),
    outage_seen(at_least_s=2),
    released("v2"),
    rolled_back(),
    log_contains("x", app="frontend"),
    log_never("panic"),
    may_be_blind("log"),
    untouched(),
    watchdog_silent(),
    stays_below("memory", 64e6, app="cartservice", phase="fault"),
]


def one(history: object, clause: Clause, ctx: Context = CTX) -> Finding:
    return judge(history, [clause], ctx).findings[0]  # type: ignore[arg-type]


def test_verdicts_merge_fail_first_and_nothing_is_unknown() -> None:
    p, u, f = Verdict.PASS, Verdict.UNKNOWN, Verdict.FAIL
    assert [merge(x) for x in ([], [p], [p, u], [p, u, f], [f, p])] == [u, p, u, f, f]
    assert [int(v) for v in (p, u, f)] == [0, 1, 2]


def test_a_measurement_within_its_error_of_the_budget_is_unknown() -> None:
    got = [compare(t, 1, 10) for t in (9, 9.5, 10.5, 11, 11.1)]
    assert [str(v) for v in got] == ["PASS", "UNKNOWN", "UNKNOWN", "UNKNOWN", "FAIL"]


@pytest.mark.parametrize(("name", "detect"), [("fast", 35), ("reference", 150), ("stock", 1050)])
def test_detection_bound_is_derived_from_the_profile(name: str, detect: float) -> None:
    assert profile(name).detect_s("CartServiceDown") == detect


def test_rules_have_their_own_for() -> None:
    assert profile("reference").detect_s("NodeCPUHigh") == 60 + 300 + 30
    ctx = Context(profile("fast"), {"Slow": AlertInfo(for_s=40)}).with_rules()
    assert ctx.profile.detect_s("Slow") == 65


def test_heal_bound_follows_argo_cds_back_off() -> None:
    fast = profile("fast")
    base = fast.sync_s + fast.ready_s
    assert [fast.heal_s(n) - base for n in (0, 1, 2, 3, 4, 5, 6, 50)] == [0, 2, 6, 18, 54, 162, 300, 300]


def test_unknown_profile_names_those_that_exist() -> None:
    with pytest.raises(ContractError, match="fast, reference, stock"):
        profile("quick")


def test_context_takes_the_recorded_timing() -> None:
    history = h.changed(h.cart_kept_down(), "story", "start", {"timing": {"for_s": 60, "scrape_s": 10}})
    ctx = Context.of(history)
    assert (ctx.profile.name, ctx.profile.for_s, ctx.profile.scrape_s, ctx.profile.eval_s) == ("fast", 60, 10, 5)


def test_every_word_survives_json_and_reads_as_written() -> None:
    again = contract_from_json([c.to_json() for c in WORDS])
    assert list(again) == WORDS
    assert str(again[0]) == 'must_fire("CartServiceDown", labels={"severity": "critical"})'
    assert str(again[5]) == 'recovers("cartservice", within_s=40)'
    assert str(again[8]) == "outage_seen(at_least_s=2)"
    assert str(again[13]) == 'may_be_blind("log")'


@pytest.mark.parametrize(
    ("clause", "words"),
    [
        (must_fire("CartDown"), r'must_fire\("CartDown"\): no alert is named CartDown'),
        (must_fire("CartServiceDown", within_s=20), r"20.0 s is below the detection bound of profile fast"),
        (must_resolve("CartServiceDown", within_s=1), r"below the resolve bound"),
        (nothing_else_fires(allow=["Nope"]), "no alert is named Nope"),
        (users(phase="fault"), "names no limit"),
        (users(errors_below=0.1), "give either phase"),
        (users(phase="later", errors_below=0.1), "baseline, fault or recovery"),
        (users(phase="fault", errors_below=5), "share"),
        (stays_below("heat", 1), "no metric is named heat"),
        (stays_below("cpu", 1, phase="later"), "baseline, fault or recovery"),
        (recovers("cartservice", within_s=-1), "within_s must be a number of at least 0"),
        (recovers("cartservice", within_s=float("nan")), "within_s must be a number"),
    ],
)
def test_a_contract_that_cannot_be_meant_is_refused_by_name(clause: Clause, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        judge(h.cart_kept_down(), [clause], CTX)


def test_a_stored_clause_of_a_newer_version_is_refused_with_its_number() -> None:
    history = h.cart_kept_down([must_fire("CartServiceDown")])
    newer = h.changed(history, "story", "contract", {"clauses": [{"clause": "must_sing", "alert": "x"}]})
    with pytest.raises(ContractError, match=r"no clause named 'must_sing'; at cart-kept-down: clause 1"):
        judge(newer, None, CTX)


def test_the_stored_contract_is_judged_when_none_is_given() -> None:
    result = judge(h.cart_kept_down(WORDS[:2]), None, CTX)
    assert [f.clause for f in result.findings[:2]] == [str(c) for c in WORDS[:2]]
    assert result.verdict is Verdict.PASS


def test_an_empty_contract_is_unknown() -> None:
    assert judge(h.cart_kept_down(), [], CTX).verdict is Verdict.UNKNOWN


def test_budgets_can_be_changed_at_judging_by_the_clauses_text() -> None:
    clause = recovers("cartservice")
    tight = replace(CTX, budgets={str(clause): 1.0})
    assert one(h.cart_kept_down(), clause, tight).verdict is Verdict.FAIL
    with pytest.raises(ContractError, match="no clause reads recover"):
        one(h.cart_kept_down(), clause, replace(CTX, budgets={"recover": 1.0}))


def test_a_late_alert_fails_with_its_margin() -> None:
    late = h.doctored(
        h.cart_kept_down(),
        lambda r: replace(r, t_s=r.t_s + 30, wall_s=r.wall_s + 30) if r.event == "delivered" else r,
    )
    finding = one(late, must_fire("CartServiceDown"))
    assert (finding.verdict, finding.margin) == (Verdict.FAIL, pytest.approx(-18))
    assert "too late" in finding.why


def test_an_unexpected_alert_fails_unless_allowed() -> None:
    story = h.cart_kept_down()
    labels = {"namespace": h.NAMESPACE}
    extra = replace(story.first("prom", "alert", state="firing"), t_s=40.0, wall_s=h.WALL_S + 40,  # type: ignore[type-var]
                    data={"name": "FrontendDown", "labels": labels, "state": "firing"})  # fmt: skip
    loud = replace(story, records=tuple(sorted((*story.records, extra), key=lambda r: r.t_s)))
    contract = [must_fire("CartServiceDown"), nothing_else_fires()]
    assert "FrontendDown" in judge(loud, contract, CTX).why
    assert judge(loud, [contract[0], nothing_else_fires(allow=["FrontendDown"])], CTX).verdict is Verdict.PASS
    elsewhere = h.changed(loud, "prom", "alert", {"labels": {"namespace": "boutique-w7"}}, name="FrontendDown")
    assert judge(elsewhere, contract, CTX).verdict is Verdict.PASS, "another Boutique's alert is not ours"


def test_recovery_needs_all_rungs() -> None:
    finding = one(h.cart_kept_down(), recovers("cartservice"))
    took = {r.name: r.took_s for r in finding.rungs}
    assert took["pod Ready"] == pytest.approx(3.1)
    assert took["Deployment available"] == pytest.approx(3.2)
    assert took["alert resolved"] == pytest.approx(16)
    assert len(finding.rungs) == 7
    argo = h.changed(h.cart_kept_down(), "argocd", "app", {"health": "Degraded"})
    late = one(argo, recovers("cartservice", within_s=20))
    assert late.verdict is Verdict.FAIL
    assert "Argo CD says Synced Degraded" in late.why


def test_terminating_pods_are_not_survivors() -> None:
    """A pod that is ready but being deleted does not count as back."""
    story = h.changed(h.cart_kept_down(), "k8s", "pod", {"deleting": True}, uid="u-cart-2")
    finding = one(story, recovers("cartservice", within_s=20))
    assert finding.verdict is Verdict.FAIL
    assert "pod Ready" in finding.why


def test_a_broken_check_is_unknown_and_named() -> None:
    @dataclass(frozen=True)
    class Broken(Clause):
        word: ClassVar[str] = "broken"

        def check(self, facts: Facts, ctx: ContractContext) -> Finding:
            raise KeyError("oops")

    finding = one(h.cart_kept_down(), Broken())
    assert (finding.verdict, finding.why) == (Verdict.UNKNOWN, "the check itself broke: KeyError: 'oops'")


def test_a_story_that_blinds_prometheus_itself_may_say_so() -> None:
    def edit(r: object) -> object:
        return replace(r, data={"ok": False}) if r.source == "prom" and r.event == "poll" and 25 < r.t_s < 40 else r  # type: ignore[attr-defined, type-var]

    blind = h.doctored(h.cart_kept_down(), edit)  # type: ignore[arg-type]
    assert judge(blind, [recovers("cartservice")], CTX).verdict is Verdict.PASS
    told = [must_resolve("CartServiceDown"), may_be_blind("prom", "kube-state-metrics")]
    assert judge(blind, told, CTX).verdict is Verdict.PASS
    assert judge(blind, told[:1], CTX).verdict is Verdict.UNKNOWN
    assert judge(h.cart_kept_down(), told, CTX).verdict is Verdict.UNKNOWN, "it was not blind at all"


def test_a_quiet_story_must_really_touch_nothing() -> None:
    story = h.Story("quiet", end_s=60)
    story.begin()
    story.probes()
    quiet = story.history()
    assert judge(quiet, [untouched(), users(phase="fault", errors_below=0.01)], CTX).verdict is Verdict.PASS
    assert judge(quiet, [users(phase="fault", errors_below=0.01)], CTX).verdict is Verdict.UNKNOWN
    assert judge(h.cart_kept_down(), [untouched()], CTX).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("history", "name", "value_s", "parts"),
    [
        (h.cart_kept_down, "time_to_detect", 23, {"pending": 7, "firing": 17, "delivered": 23}),
        (h.cart_kept_down, "user_outage", 43.3, {}),
        (h.cart_kept_down, "time_to_recover", 3.2, None),
        (h.drift_healed, "drift_self_heal_time", 4.4, {"equal to Git": 1.8, "healthy": 4.4}),
        (h.released_v2, "deployment_lead_time", 10.3, None),
        (h.rolled_back, "rollback_time", 4.0, None),
    ],
)
def test_figures(history: object, name: str, value_s: float, parts: dict[str, float] | None) -> None:
    found = {f.name: f for f in judge(history(), [no_outage()], CTX).figures}[name]  # type: ignore[operator]
    assert found.value_s == pytest.approx(value_s)
    assert 0 < found.err_s <= 0.5
    if parts is not None:
        assert dict(found.parts) == pytest.approx(parts)


def test_a_fault_is_detected_when_on_call_misses_the_watchdog_unless_an_alert_came_first() -> None:
    def detected(history: History) -> dict[str, dict[str, float]]:
        return {f.name: dict(f.parts) for f in judge(history, [no_outage()], CTX).figures if f.name == "time_to_detect"}

    unheard = _unheard(20, 140)
    assert detected(unheard) == {"time_to_detect": {"the Watchdog missed": pytest.approx(50)}}
    assert detected(h.without(unheard, "receiver", "poll")) == {}, "a receiver that nobody asked heard nothing either"
    assert detected(_unheard(0, 0)) == {}
    told = h.cart_kept_down()
    assert detected(told)["time_to_detect"]["delivered"] == pytest.approx(23)


def test_an_unproven_fault_gives_no_figures() -> None:
    assert judge(h.without(h.cart_kept_down(), "fault", "proven"), [no_outage()], CTX).figures == ()


@pytest.mark.parametrize(
    ("history", "clause", "edit"),
    [
        (h.released_v2, released("v2"), ("k8s", "pod", {"ready": False}, {"uid": "u-frontend-4"})),
        (h.released_v2, released("v2", within_s=5), None),
        (h.rolled_back, rolled_back(within_s=30), ("k8s", "pod", {"deleting": False}, {"uid": "u-frontend-2"})),
        (h.rolled_back, rolled_back(within_s=1), None),
        (h.drift_healed, heals("Deployment", "cartservice", within_s=2), None),
        (h.cart_kept_down, log_contains("nonsense"), None),
        (h.cart_kept_down, log_never("retrieve cart"), None),
        (h.cart_kept_down, users(phase="fault", errors_below=0.05), None),
        (h.cart_kept_down, users(phase="baseline", p95_below_s=0.001), None),
        (h.cart_kept_down, users(phase="fault", longest_outage_below_s=10), None),
        (h.cart_kept_down, no_outage(), None),
        (h.cart_kept_down, outage_seen(at_least_s=100), None),
        (h.cart_kept_down, must_not_fire("CartServiceDown"), None),
    ],
)
def test_each_check_fails_when_it_should(history: object, clause: Clause, edit: tuple[object, ...] | None) -> None:
    story = history()  # type: ignore[operator]
    if edit:
        source, event, change, where = edit
        story = h.changed(story, source, event, change, **where)  # type: ignore[arg-type]
    finding = one(story, clause)
    assert finding.verdict is Verdict.FAIL or "within its budget" in finding.why, finding.why


def test_a_release_not_seen_by_users_is_not_out() -> None:
    story = h.changed(h.released_v2(), "probe", "request", {"version": "v1"})
    assert one(story, released("v2", within_s=30)).verdict is Verdict.FAIL


def test_too_few_requests_carry_no_verdict_about_users() -> None:
    finding = one(h.cart_kept_down(), users(phase="baseline", errors_below=0.0001))
    assert (finding.verdict, "this limit needs 10000" in finding.why) == (Verdict.UNKNOWN, True)


def test_outages_and_slo() -> None:
    facts = Facts(h.cart_killed_once())
    found = outages(facts.probe, facts.end_s)
    assert [(o.start_s, o.end_s, o.requests, o.ended) for o in found] == [(20.1, 23.9, 38, True)]
    back = slo_restored(facts.probe)
    assert back is not None
    assert back.t_s == pytest.approx(23.9)
    assert slo_restored(facts.probe[:220]) is None


def test_statistics_over_scenarios() -> None:
    every = [Figure("time_to_detect", v, 0.1 * v) for v in (3.0, 1.0, 2.0)]
    stat = aggregate(every)["time_to_detect"]
    assert (stat.n, stat.median_s, stat.p95_s, stat.worst_s, stat.err_s) == (3, 2, 3, 3, pytest.approx(0.3))
    assert percentile([], 0.5) is None
    assert percentile(list(range(1, 101)), 0.95) == 95


def test_results_survive_json() -> None:
    result = judge(h.cart_kept_down(), WORDS[:2] + WORDS[5:7], CTX)
    again = ScenarioResult.from_json(result.to_json())
    assert again.to_json() == result.to_json()
    assert again.findings == result.findings


def test_durations_for_people() -> None:
    assert [secs(x) for x in (0.314, 24.12, 125)] == ["0.31 s", "24.1 s", "2 min 05 s"]


def test_shoppers_who_wait_through_an_outage_are_no_dead_load() -> None:
    """Every shopper hangs in one slow request for 15 s: the load is alive, and its users wait."""

    def hang(r: Record) -> Record | None:
        if (r.source, r.event) != ("load", "request") or not 25 <= r.t_s < 40:
            return r
        return replace(r, data={**r.data, "ms": 15000.0}) if r.t_s == 25 else None

    waiting = h.doctored(h.cart_kept_down(), hang)
    contract = [users(after="recovery", errors_below=0.01)]
    assert judge(waiting, contract, CTX).verdict is Verdict.PASS
    stopped = h.changed(waiting, "load", "request", {"ms": 10.0})
    assert judge(stopped, contract, CTX).verdict is Verdict.UNKNOWN


def test_a_load_that_starts_slowly_counts_from_its_first_request() -> None:
    late = h.doctored(
        h.cart_kept_down(), lambda r: None if r.source == "load" and r.event == "request" and r.t_s < 18 else r
    )
    assert judge(late, [users(after="recovery", errors_below=0.01)], CTX).verdict is Verdict.PASS
    too_late = h.doctored(late, lambda r: None if r.source == "load" and r.event == "request" and r.t_s < 28 else r)
    assert "before the fault" in judge(too_late, [users(after="recovery", errors_below=0.01)], CTX).why


def test_a_kill_is_timed_from_its_effect_a_held_fault_from_its_end() -> None:
    kill = one(h.cart_killed_once(), recovers("cartservice"))
    assert kill.evidence[0].t_s == 20
    held = one(h.cart_kept_down(), recovers("cartservice"))
    assert (held.evidence[0].t_s, held.evidence[0].text) == (60, "counted from: the fault was undone")


def test_a_drift_that_the_watch_saw_before_the_api_answered_counts_from_the_watch() -> None:
    """On a busy machine the answer to our own change comes in after the watch's news of it."""
    slow = h.doctored(
        h.drift_healed(),
        lambda r: replace(r, t_s=21.0, wall_s=h.WALL_S + 21) if (r.source, r.event) == ("drift", "accepted") else r,
    )
    armed = Record(19.5, h.WALL_S + 19.5, "fault", "armed", 0.0, {"fault": "drift"})
    slow = replace(slow, records=tuple(sorted((*slow.records, armed), key=lambda r: r.t_s)))
    finding = one(slow, heals("Deployment", "cartservice"))
    assert (finding.verdict, finding.measured) == (Verdict.PASS, pytest.approx(24.4 - 20.2))


def test_a_bad_push_is_timed_from_the_first_pod_that_it_makes() -> None:
    story = Facts(h.rolled_back())
    assert story.disturbance is not None
    assert (story.disturbance.event, story.disturbance.t_s) == ("pod", 23)


def test_errors_before_the_baseline_do_not_count_and_errors_in_it_do() -> None:
    def failing(lo: float, hi: float) -> Verdict:
        story = h.doctored(
            h.cart_kept_down(),
            lambda r: replace(r, data={**r.data, "ok": False}) if r.source == "probe" and lo < r.t_s < hi else r,
        )
        late = h.doctored(
            story, lambda r: replace(r, t_s=10.0, wall_s=h.WALL_S + 10) if r.data.get("name") == "baseline" else r
        )
        return judge(late, [log_never("panic")], CTX).verdict

    assert (failing(0, 9), failing(10, 14)) == (Verdict.PASS, Verdict.UNKNOWN)


# --- the Watchdog ---


def _unheard(lo_s: float, hi_s: float) -> History:
    """The cart's story, in which the Watchdog did not reach on-call in between; it lasts for 200 s."""
    story = h.Story(end_s=200)
    story.begin()
    story.fault(20)
    story.undone(100)
    return h.doctored(
        story.history(), lambda r: None if r.data.get("name") == "Watchdog" and lo_s < r.t_s < hi_s else r
    )


@pytest.mark.parametrize(
    ("history", "verdict", "words"),
    [
        (_unheard(20, 140), Verdict.PASS, "silent for 2 min 20 s: on-call knew 50.0 s after the fault"),
        (_unheard(0, 0), Verdict.FAIL, "heard the Watchdog all the time"),
        (_unheard(20, 300), Verdict.UNKNOWN, "not heard again since 10 s"),
        (h.without(_unheard(20, 140), "receiver", "poll"), Verdict.UNKNOWN, "cannot tell"),
        (h.cart_killed_once(), Verdict.UNKNOWN, "silence shows after 60.0 s"),
    ],
)
def test_a_silence_of_the_watchdog_can_be_expected(history: History, verdict: Verdict, words: str) -> None:
    finding = one(history, watchdog_silent())
    assert (finding.verdict, words in finding.why) == (verdict, True), finding.why


def test_the_watchdogs_silence_makes_a_story_unknown_unless_expected() -> None:
    unheard = _unheard(20, 140)
    assert judge(unheard, [nothing_else_fires()], CTX).verdict is Verdict.UNKNOWN
    assert judge(unheard, [watchdog_silent(), nothing_else_fires()], CTX).verdict is Verdict.PASS


# --- metrics ---


def _measured(values: list[tuple[float, float]], *, range_s: float = 0.0, **window: object) -> History:
    """The cart's story with a memory series of its first pod."""
    story = h.cart_kept_down()
    pod = story.first("k8s", "pod", app="cartservice")
    assert pod is not None
    points = [[t, v] for t, v in values]
    about = {"name": "memory", "unit": "bytes", "range_s": range_s}
    made = [
        Record(
            121,
            h.WALL_S + 121,
            "metrics",
            "series",
            0,
            {**about, "labels": {"pod": pod.data["name"]}, "points": points},
        ),
        Record(121, h.WALL_S + 121, "metrics", "window", 0, {**about, "ok": True, "series": 1, "error": "", **window}),
    ]
    return replace(story, records=(*story.records, *made))


EVERY_5_S = [(t, 10e6 + t) for t in range(0, 121, 5)]


@pytest.mark.parametrize(
    ("history", "verdict", "words"),
    [
        (_measured(EVERY_5_S), Verdict.PASS, "(limit 6.4e+07)"),
        (_measured([*EVERY_5_S, (60, 70e6)]), Verdict.FAIL, "reached 7e+07 bytes"),
        (_measured([(5, 90e6), *EVERY_5_S]), Verdict.PASS, "reached"),  # before the fault
        (_measured([]), Verdict.UNKNOWN, "no memory of any pod was stored"),
        (_measured(EVERY_5_S, ok=False, error="status 503"), Verdict.UNKNOWN, "could not be read: status 503"),
        (_measured(EVERY_5_S, range_s=101), Verdict.UNKNOWN, "shorter than the 101 s"),
        (_measured([p for p in EVERY_5_S if not 40 < p[0] < 90]), Verdict.UNKNOWN, "for 50 s nothing was stored"),
        (h.cart_kept_down(), Verdict.UNKNOWN, "was not recorded"),
    ],
)
def test_a_metric_stays_below_its_limit(history: History, verdict: Verdict, words: str) -> None:
    finding = one(history, stays_below("memory", 64e6))
    assert (finding.verdict, words in finding.why) == (verdict, True), finding.why


def test_a_metric_is_judged_for_the_app_that_is_named() -> None:
    high = _measured([*EVERY_5_S, (60, 70e6)])
    assert one(high, stays_below("memory", 64e6, app="cartservice")).verdict is Verdict.FAIL
    assert one(high, stays_below("memory", 64e6, app="frontend")).verdict is Verdict.UNKNOWN


def test_the_metrics_of_contracts_are_those_that_are_recorded() -> None:
    assert tuple(m.name for m in METRICS) == KNOWN
