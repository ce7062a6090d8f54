"""Clauses about GitOps: drift healed, releases out, reverts through; judged on live objects, never on Argo CD's word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness.history import Record
from harness.judge.contract import Clause, Context, at, blind_text, clause
from harness.judge.facts import Facts, Request, Step
from harness.judge.recovery import slo_restored
from harness.judge.verdict import Evidence, Finding, Verdict, compare, secs


@dataclass(frozen=True)
class DriftSeen:
    """A drift as the live objects showed it: when it was accepted, when it showed, when the platform healed it.

    `undone` is when the harness itself began to put it back; what is healed after that is no merit of the platform.
    """

    accepted: Record
    after: tuple[Step, ...]
    fell: Step | None
    healed: Step | None
    undone: Record | None = None


def drift_seen(facts: Facts, drift: Record) -> DriftSeen:
    """Follow a drift in the live objects.

    The API's answer may come in later than the watch's news of the same change; then the news is the better time.
    """
    armed = [r.t_s for r in facts.history.of("fault", "armed") if r.t_s <= drift.t_s]
    since_s = min(max(armed, default=drift.t_s), drift.t_s - drift.err_s)
    after = tuple(s for s in facts.live_steps() if s.t_s + s.err_s >= since_s)
    fell = next((s for s in after if not s.good), None)
    undone = next((r for r in facts.history.of("fault", "reverting") if _undoes(r, drift)), None)
    until_s = undone.t_s if undone else facts.end_s
    healed = next((s for s in after if fell and s.good and fell.t_s <= s.t_s <= until_s), None)
    if fell is not None and fell.t_s < drift.t_s:
        drift = replace(drift, t_s=fell.t_s, err_s=max(fell.err_s, drift.err_s))
    return DriftSeen(drift, after, fell, healed, undone)


def _undoes(reverting: Record, drift: Record) -> bool:
    hit = reverting.data.get("target") or {}
    return reverting.t_s >= drift.t_s and all(hit.get(k) == drift.data.get(k) for k in ("kind", "namespace", "name"))


@clause
@dataclass(frozen=True)
class Heals(Clause):
    """A drift is undone: the live object equals Git again and is healthy."""

    word: ClassVar[str] = "heals"
    kind: str
    name: str
    within_s: float | None = None

    def sources(self) -> tuple[str, ...]:
        """The comparison of live objects with Git."""
        return ("live", "k8s")

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """First seen to differ, then equal and healthy, in time, and still so at the end."""
        drift = facts.history.first("drift", "accepted", kind=self.kind, name=self.name)
        if drift is None:
            return self.unknown(f"no drift of {self.kind} {self.name} was made")
        budget_s = self.budget_s(ctx.profile.heal_s(_attempts(facts, drift.t_s)), ctx)
        seen = drift_seen(facts, drift)
        drift, after, fell, healed = seen.accepted, seen.after, seen.fell, seen.healed
        evidence = tuple(_story_of(facts, drift))
        until_s = seen.undone.t_s if seen.undone else facts.end_s
        gaps = facts.blind(self.sources(), drift.t_s, healed.t_s if healed else min(drift.t_s + budget_s, until_s))
        if gaps:
            return self.unknown(f"cannot tell when the drift was healed: {blind_text(gaps)}", evidence=evidence)
        if fell is None:
            why = "the drift was never seen in the live objects, so its healing proves nothing"
            return self.unknown(why, evidence=evidence)
        if healed is None:
            watched_s = until_s - drift.t_s
            if watched_s < budget_s:
                ended = "the harness put it back itself" if seen.undone else "the story ended"
                why = f"not healed when {ended} after {secs(watched_s)}, within its budget"
                return self.unknown(why, budget=budget_s, evidence=evidence)
            word = _word(facts, until_s)
            lie = f", although Argo CD says {word}" if word == "Synced Healthy" else f" (Argo CD: {word})"
            back = "; then the harness put it back" if seen.undone else ""
            why = f"{self.kind} {self.name} still differs from Git {secs(watched_s)} after the drift{lie}{back}"
            return self.finding(Verdict.FAIL, why, budget=budget_s, evidence=evidence)
        took_s, err_s = healed.t_s - drift.t_s, healed.err_s + drift.err_s
        if not after[-1].good:
            why = f"healed after {secs(took_s)}, but at the end it differed again: {after[-1].text or 'unhealthy'}"
            return self.finding(Verdict.FAIL, why, budget=budget_s, measured=took_s, err_s=err_s, evidence=evidence)
        verdict = compare(took_s, err_s, budget_s)
        why = f"{self.kind} {self.name} equals Git and is healthy {secs(took_s)} after the drift (at most {secs(budget_s)})"
        return self.finding(verdict, why, budget=budget_s, measured=took_s, err_s=err_s, evidence=evidence)


@clause
@dataclass(frozen=True)
class Released(Clause):
    """A pushed version serves: all its pods Ready, none of the old left, and a user answered by it."""

    word: ClassVar[str] = "released"
    version: str
    within_s: float | None = None
    purpose: ClassVar[str] = "release"

    def sources(self) -> tuple[str, ...]:
        """Pods and users."""
        return ("k8s", "probe")

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """From the accepted push to the later of the two."""
        push = facts.history.first("git", "push_accepted", purpose="release", version=self.version)
        if push is None:
            return self.unknown(f"no push of version {self.version} was accepted")
        done = version_served(facts, self.version, push.t_s)
        budget_s = self.budget_s(ctx.profile.release_s(), ctx)
        what = f"version {self.version}"
        return _judge_push(self, facts, push, done, budget_s, what)


@clause
@dataclass(frozen=True)
class RolledBack(Clause):
    """After the revert's push the old revision is Ready everywhere, nothing of the bad one is left, users are served."""

    word: ClassVar[str] = "rolled_back"
    within_s: float | None = None

    def sources(self) -> tuple[str, ...]:
        """Pods and users."""
        return ("k8s", "probe")

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """From the accepted revert to the later of pods and users."""
        push = facts.history.last("git", "push_accepted", purpose="revert")
        bad = facts.history.last("git", "push_accepted", purpose="bad")
        if push is None or bad is None:
            return self.unknown("no bad push and revert were accepted")
        done = reverted(facts, bad, push)
        budget_s = self.budget_s(ctx.profile.release_s(), ctx)
        if done is None and not _bad_pods(facts, bad):
            return self.unknown("no pod of the bad revision was ever seen, so its rollback proves nothing")
        return _judge_push(self, facts, push, done, budget_s, "the rollback")


@dataclass(frozen=True)
class Served:
    """When a revision was in service: pods and users."""

    pods: Record
    user_s: float
    user_err_s: float

    @property
    def t_s(self) -> float:
        """The later of the two."""
        return max(self.pods.t_s, self.user_s)

    @property
    def err_s(self) -> float:
        """The uncertainty of the later of the two."""
        return self.pods.err_s if self.pods.t_s >= self.user_s else self.user_err_s


def version_served(facts: Facts, version: str, since_s: float) -> Served | None:
    """When every app that has a pod of `version` had only Ready ones of it, and a user saw it; None: never."""
    apps = {str(r.data.get("app")) for r in facts.history.of("k8s", "pod") if str(r.data.get("version")) == version}
    pods = _settled(facts, since_s, apps, lambda pod: str(pod.get("version")) == version)
    seen = next((q for q in facts.probe if q.ok and q.version == version and q.t_s >= since_s), None)
    if pods is None or seen is None:
        return None
    return Served(pods, seen.t_s + seen.took_s, 0.1)


def reverted(facts: Facts, bad: Record, push: Record) -> Served | None:
    """When nothing of the bad revision was left, all pods were Ready and users were served; None: never."""
    apps = {str(p.data.get("app")) for p in _bad_pods(facts, bad)}
    version = str(bad.data.get("version"))
    pods = _settled(facts, push.t_s, apps, lambda pod: str(pod.get("version")) != version)
    if pods is None:
        return None
    users = [q for q in facts.probe if bad.t_s <= q.t_s <= facts.end_s]
    restored: Request | None = None
    if any(not q.ok for q in users):
        restored = slo_restored(users)
        if restored is None:
            return None
    user_s = restored.t_s if restored else push.t_s
    return Served(pods, user_s, 0.1)


def _settled(facts: Facts, since_s: float, apps: set[str], wanted: Any) -> Record | None:
    """The record after `since_s` from which to the end all pods of `apps` were wanted ones and Ready."""
    pods: dict[str, dict[str, Any]] = {}
    settled: Record | None = None
    for r in facts.history.of("k8s", "pod"):
        if r.t_s > facts.end_s:
            break
        if str(r.data.get("app")) not in apps:
            continue
        uid = str(r.data.get("uid"))
        if r.data.get("phase") in ("Gone", "Succeeded", "Failed") or r.data.get("deleting"):
            pods.pop(uid, None)
        else:
            pods[uid] = r.data
        serving = {str(p.get("app")) for p in pods.values()}
        good = serving == apps and all(p.get("ready") and wanted(p) for p in pods.values())
        if not good:
            settled = None
        elif settled is None or settled.t_s < since_s:
            settled = r
    return settled if settled is not None and settled.t_s >= since_s else None


def _bad_pods(facts: Facts, bad: Record) -> list[Record]:
    version = str(bad.data.get("version"))
    return [r for r in facts.history.of("k8s", "pod") if str(r.data.get("version")) == version and r.t_s >= bad.t_s]


def _judge_push(
    clause_: Clause, facts: Facts, push: Record, done: Served | None, budget_s: float, what: str
) -> Finding:
    told = {"webhook": "; Argo CD was told by webhook", "poll": "; no webhook, Argo CD polls"}
    text = f"Git accepted the push {push.data.get('revision', '')}".strip() + told.get(
        str(push.data.get("told_by")), ""
    )
    evidence = [at(push.t_s, text)]
    gaps = facts.blind(clause_.sources(), push.t_s, done.t_s if done else push.t_s + budget_s)
    if gaps:
        return clause_.unknown(f"cannot tell when {what} was in service: {blind_text(gaps)}")
    if done is None:
        watched_s = facts.end_s - push.t_s
        if watched_s < budget_s:
            why = f"{what} was not in service when the story ended after {secs(watched_s)}, within its budget"
            return clause_.unknown(why, budget=budget_s, evidence=tuple(evidence))
        why = f"{what} was not in service {secs(watched_s)} after the push (Argo CD: {_word(facts)})"
        return clause_.finding(Verdict.FAIL, why, budget=budget_s, evidence=tuple(evidence))
    evidence += [at(done.pods.t_s, "all pods Ready"), at(done.user_s, "users served by it")]
    took_s, err_s = done.t_s - push.t_s, done.err_s + push.err_s
    why = f"{what} was in service everywhere {secs(took_s)} after its push (at most {secs(budget_s)})"
    verdict = compare(took_s, err_s, budget_s)
    return clause_.finding(verdict, why, budget=budget_s, measured=took_s, err_s=err_s, evidence=tuple(evidence))


def _attempts(facts: Facts, t_s: float) -> int:
    """Argo CD's count of self-heals just before `t_s`."""
    past = [r for r in facts.history.of("argocd", "app") if r.t_s < t_s]
    return int(past[-1].data.get("heal_attempts") or 0) if past else 0


def _word(facts: Facts, until_s: float = float("inf")) -> str:
    last = next((r for r in reversed(list(facts.history.of("argocd", "app"))) if r.t_s <= until_s), None)
    return f"{last.data.get('sync')} {last.data.get('health')}" if last else "nothing"


def _story_of(facts: Facts, drift: Record) -> list[Evidence]:
    found = [at(drift.t_s, f"drift: {drift.data.get('change', '')}")]
    for r in facts.history.records:
        if r.t_s < drift.t_s or len(found) > 30:
            continue
        if (r.source, r.event) == ("live", "diff"):
            state = (
                "equals Git" if r.data.get("equal") else f"differs: {', '.join(map(str, r.data.get('differing', ())))}"
            )
            found.append(at(r.t_s, f"live {state}, {'healthy' if r.data.get('healthy') else 'not healthy'}"))
        elif (r.source, r.event) == ("argocd", "app"):
            found.append(at(r.t_s, f"Argo CD says {r.data.get('sync')} {r.data.get('health')}"))
    return found
