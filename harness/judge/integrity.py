"""The clauses that every contract has without writing them: the fault was real, the sources saw, the record is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.history import Record
from harness.judge.alerts import ALWAYS_FIRING
from harness.judge.contract import Clause, Context, at, blind_text, clause
from harness.judge.facts import NAMES, Facts, clock_steps
from harness.judge.users import load_doubt, stats, within
from harness.judge.verdict import Finding, Verdict
from harness.judge.watchdog import unexpected_silence

BASELINE_ERRORS = 0.05


@clause
@dataclass(frozen=True)
class HistoryWhole(Clause):
    """The record has its end, one steady clock, and the story ran to its own end."""

    word: ClassVar[str] = "history_whole"
    implicit: ClassVar[bool] = True

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Not truncated, no clock step."""
        doubt = record_doubt(facts)
        if doubt:
            return self.unknown(doubt)
        error = facts.history.first("story", "error")
        if error is not None:
            text = str(error.data.get("text", ""))
            return self.unknown(f"the story itself broke off: {text[:300]}", evidence=(at(error.t_s, text),))
        return self.finding(Verdict.PASS, "the record is whole and its clock steady")


@clause
@dataclass(frozen=True)
class FaultProven(Clause):
    """What the story did to the system really took effect, on the target that it meant."""

    word: ClassVar[str] = "fault_proven"
    implicit: ClassVar[bool] = True

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Every injected fault has a proof on the same object, inside the blast radius."""
        dirty = facts.history.first("fault", "dirty")
        if dirty is not None:
            residue = ", ".join(map(str, dirty.data.get("residue", ()))) or "residue"
            why = f"{dirty.data.get('fault')} left something behind: {residue}"
            return self.finding(Verdict.FAIL, why, evidence=(at(dirty.t_s, residue),))
        doubt = fault_doubt(facts)
        if doubt:
            return self.unknown(doubt)
        did = _done(facts)
        evidence = tuple(at(r.t_s, _told(r)) for r in did)
        return self.finding(Verdict.PASS, f"it took effect: {_told(did[0])}", evidence=evidence)


@clause
@dataclass(frozen=True)
class SourcesSaw(Clause):
    """Every source that the contract relies on could see from before the fault to the end."""

    word: ClassVar[str] = "sources_saw"
    implicit: ClassVar[bool] = True
    needed: tuple[str, ...] = ()
    may_be_blind: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.word}()"

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """No gap in any of them."""
        needed = [s for s in self.needed if s not in self.may_be_blind]
        gaps = facts.blind(needed, facts.attempted_s, facts.end_s)
        if "watchdog" not in self.may_be_blind:
            gaps += unexpected_silence(facts, needed)
        doubt = blind_text(gaps) if gaps else load_doubt(facts, facts.end_s)
        if doubt:
            return self.unknown(doubt, evidence=tuple(at(g.start_s, str(g)) for g in gaps[:20]))
        return self.finding(Verdict.PASS, f"all could see: {', '.join(NAMES.get(s, s) for s in needed)}")


@clause
@dataclass(frozen=True)
class SteadyBefore(Clause):
    """Before the fault nothing was wrong: no alert firing, users served, live equal to Git."""

    word: ClassVar[str] = "steady_before"
    implicit: ClassVar[bool] = True

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Alerts quiet, users served, live objects equal to Git until the story touched the system."""
        t_s = facts.attempted_s
        state: dict[tuple[str, str], Record] = {}
        for r in facts.alert_states():
            if r.t_s < t_s:
                state[str(r.data.get("name")), str(sorted(r.data.get("labels", {}).items()))] = r
        firing = sorted({n for (n, _), r in state.items() if r.data.get("state") == "firing"} - set(ALWAYS_FIRING))
        if firing:
            return self.unknown(f"already firing before the fault: {', '.join(firing)}")
        baseline = facts.phase("baseline")
        felt = stats(within(facts.probe, baseline.start_s if baseline else 0, t_s - 0.001))
        if felt.requests and felt.error_rate > BASELINE_ERRORS:
            return self.unknown(f"{felt.error_rate:.0%} of users' requests failed before the fault already")
        live = [s for s in facts.live_steps() if s.t_s < t_s]
        if live and not live[-1].good:
            return self.unknown(f"live differed from Git before the fault: {live[-1].text or 'not healthy'}")
        return self.finding(Verdict.PASS, "nothing was wrong before the fault")


@clause
@dataclass(frozen=True)
class MayBeBlind(Clause):
    """The story blinds these sources itself (Prometheus down, Loki down): their gaps are no surprise."""

    word: ClassVar[str] = "may_be_blind"
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.word}({', '.join(repr(n) for n in self.names)})".replace("'", '"')

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """They were blind, so the exception is needed."""
        lo_s = facts.attempted_s
        seeing = [s for s in self.names if not facts.gaps(s, lo_s, facts.end_s)]
        if seeing:
            return self.unknown(f"expected to be blind, but saw all the time: {', '.join(seeing)}")
        return self.finding(Verdict.PASS, f"blind for a while, as expected: {', '.join(self.names)}")


@clause
@dataclass(frozen=True)
class Untouched(Clause):
    """The story does nothing to the system: it only looks (load tests, quiet controls)."""

    word: ClassVar[str] = "untouched"

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """No fault, drift or push was recorded."""
        did = _done(facts) + list(facts.history.of("fault", "injected"))
        if did:
            return self.finding(Verdict.FAIL, f"the story promised to touch nothing: {_told(did[0])}")
        return self.finding(Verdict.PASS, "nothing was done to the system")


def record_doubt(facts: Facts) -> str:
    """Why the record as a whole cannot carry a verdict; empty when it can."""
    if facts.history.truncated:
        return "the history is cut off: the runner died before the end"
    if not facts.start:
        return "the history does not say what story it tells"
    steps = clock_steps(facts.history)
    if steps:
        t_s, by_s = steps[0]
        return f"the runner's clock stepped by {by_s:+.1f} s at {t_s:.0f} s: its times cannot be trusted"
    return ""


def fault_doubt(facts: Facts) -> str:
    """Why what was done to the system is not certain; empty when it is."""
    for unproven in facts.history.of("fault", "unproven"):
        return f"{unproven.data.get('fault')} was injected, but no effect was seen"
    proofs = list(facts.history.of("fault", "proven"))
    for injected in facts.history.of("fault", "injected"):
        same = [p for p in proofs if p.data.get("fault") == injected.data.get("fault") and p.t_s >= injected.t_s]
        if not same:
            return f"{injected.data.get('fault')} was injected, but its effect was never proven"
        meant, hit = injected.data.get("target") or {}, same[0].data.get("target") or {}
        if meant.get("uid") != hit.get("uid") or meant.get("name") != hit.get("name"):
            return f"{injected.data.get('fault')} was meant for {meant.get('name')} but hit {hit.get('name')}"
    for proof in proofs:
        outside = _outside(facts, proof.data.get("target") or {})
        if outside:
            return f"{proof.data.get('fault')} hit {outside}, outside the story's blast radius"
    if not _done(facts):
        return "nothing was done to the system: no fault proven, no drift, no push"
    return ""


def _outside(facts: Facts, target: dict[str, Any]) -> str:
    """The target's name when it is not one that the story meant; empty when it is, or cannot be told."""
    name, place = str(target.get("name", "")), str(target.get("namespace", ""))
    if place.startswith("boutique") and place != facts.namespace:
        return f"{place}/{name}"
    if place != facts.namespace or not facts.blast_radius or target.get("kind") == "Node":
        return ""
    uid = target.get("uid")
    pod = next((r for r in facts.history.of("k8s", "pod") if uid and r.data.get("uid") == uid), None)
    app = str(pod.data.get("app")) if pod else ""
    if app:
        return "" if app in facts.blast_radius else name
    near = any(name == n or name.startswith(f"{n}-") for n in facts.blast_radius)
    return "" if near or target.get("kind") not in ("Pod", "Deployment", "Service") else name


def _done(facts: Facts) -> list[Record]:
    """What was done to the system, for certain."""
    found: list[Record] = [*facts.history.of("fault", "proven"), *facts.history.of("drift", "accepted")]
    found += [r for r in facts.history.of("git", "push_accepted") if r.data.get("purpose") != "deploy"]
    return sorted(found, key=lambda r: r.t_s)


def _told(r: Record) -> str:
    d = r.data
    if r.source == "git":
        return f"pushed {d.get('purpose')} {d.get('version') or d.get('revision') or ''}".strip()
    if r.source == "drift":
        return f"drift of {d.get('kind')} {d.get('name')}: {d.get('change')}"
    target = d.get("target") or {}
    proof = d.get("evidence")
    if isinstance(proof, dict):
        proof = ", ".join(f"{k.replace('_', ' ')}: {v}" for k, v in proof.items())
    return f"{d.get('fault')} on {target.get('name', '?')}" + (f" ({proof})" if proof else "")


IMPLICIT: Sequence[type[Clause]] = (HistoryWhole, FaultProven, SteadyBefore)
