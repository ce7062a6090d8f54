"""A story: one scenario from its first mark to its verdict.

It records (recorders, user probe, load), runs the fault's life cycle, waits for what its contract waits for and no longer,
and judges the history at the end. Waiting is only for ending early; the judge alone decides.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness._clock import CLOCK
from harness._errors import HarnessError, WaitTimeout
from harness._usage import cpu_s, forget_peak, peak_memory_bytes
from harness._wait import Budget, wait_for
from harness.boutique.deploy import Boutique, Pushed, Release, desired, push
from harness.history import HistoryWriter, Record, read_history
from harness.judge import Clause, Context, ScenarioResult, judge, validate
from harness.judge.alerts import MustFire, MustNotFire, MustResolve, NothingElseFires
from harness.judge.facts import WATCHDOG_MISSED
from harness.judge.gitops import Heals, Released, RolledBack
from harness.judge.recovery import Recovers
from harness.judge.users import Users
from harness.judge.watchdog import WatchdogSilent
from harness.observe import Sources
from harness.observe.load import RunningLoad
from harness.observe.probe import ProbeSpec
from harness.platform.ca import ca_file
from harness.provision import Platform
from harness.stack.rules import WATCHDOG, alert_for_s

if TYPE_CHECKING:
    from harness.faults import Fault, FaultContext

BASELINE_S = 6.0  # what is normal, measured before anything is broken
CALM_S = 5.0  # good requests in a row after which users count as served again
POLL_S = 0.1

Condition = Callable[[], bool]


def probe_of(platform: Platform, boutique: Boutique) -> ProbeSpec:
    """Whose home page to ask for, through the edge on loopback."""
    return ProbeSpec(int(platform.facts["edge_port"]), boutique.host, ca_file(platform.env))


def sources_of(platform: Platform, boutique: Boutique, release: Release, blast_radius: Sequence[str]) -> Sources:
    """Everything there is to record of a Boutique on a platform.

    Args:
        platform: where it runs.
        boutique: the instance.
        release: what Git asks for now.
        blast_radius: Deployments whose logs are kept.
    """
    return Sources(
        kube=platform.kube,
        namespace=boutique.namespace,
        app=boutique.app,
        desired=desired(boutique, release, platform.bundle.tool("kubectl")),
        probe=probe_of(platform, boutique),
        prometheus_url=platform.url("prometheus"),
        alertmanager_url=platform.url("alertmanager"),
        loki_url=platform.url("loki"),
        receiver_url=platform.receiver_url,
        blast_radius=blast_radius,
    )


class LiveHistory(HistoryWriter):
    """A history that can be asked while it is written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._seen: dict[tuple[str, str], list[Record]] = {}
        self._guard = threading.Lock()
        super().__init__(*args, **kwargs)

    def mark(self, source: str, event: str, *, t_s: float | None = None, err_s: float = 0.0, **data: Any) -> Record:
        """Append one record, and keep it for questions."""
        record = super().mark(source, event, t_s=t_s, err_s=err_s, **data)
        with self._guard:
            self._seen.setdefault((source, event), []).append(record)
        return record

    def latest(self, source: str, event: str, *, since_s: float = 0.0, **data: Any) -> Record | None:
        """The latest record of that kind whose data has the given values, not older than `since_s`."""
        with self._guard:
            seen = self._seen.get((source, event), [])[:]
        for record in reversed(seen):
            if record.t_s >= since_s and all(record.data.get(k) == v for k, v in data.items()):
                return record
        return None

    def calm_since(self) -> float | None:
        """Since when every user probe has been good; None when the last one was not."""
        with self._guard:
            probes = self._seen.get(("probe", "request"), [])[:]
        start: float | None = None
        for record in reversed(probes):
            if not record.data.get("ok"):
                break
            start = record.t_s
        return start


@dataclass
class Story:
    """A running scenario; made by `telling`."""

    platform: Platform
    boutique: Boutique
    release: Release
    history: LiveHistory
    faults: FaultContext
    context: Context
    git_changed: Callable[[Boutique, Release], None]
    clauses: tuple[Clause, ...] = ()
    disturbed_s: float = 0.0
    load: RunningLoad | None = None

    # --- what it expects

    def expect(self, *clauses: Clause) -> None:
        """The contract; refused at once when it cannot be meant.

        Raises:
            ContractError: naming the clause.
        """
        validate(clauses, self.context)
        self.clauses = clauses
        self.history.mark("story", "contract", clauses=[c.to_json() for c in clauses])

    # --- what it does

    @contextlib.contextmanager
    def broken(self, fault: Fault) -> Iterator[None]:
        """The fault is on, proven, while the block runs; then it is reverted, proven gone, and its residue is looked for."""
        from harness.faults import injected

        self._disturb()
        with injected(fault, self.faults):
            yield
        self._phase("recovery")

    def inject(self, fault: Fault, *, until: Condition | None = None, within_s: float = 0.0) -> None:
        """Inject a fault; hold it until a condition holds, for at most `within_s` seconds; then revert it."""
        with self.broken(fault):
            if until is not None:
                self.await_(until, within_s or 120.0)

    def push(self, release: Release, purpose: str) -> Pushed:
        """Push a release, a bad one or a revert to Git; marks when the server accepted it."""
        if purpose != "revert":
            self._disturb()
        self.git_changed(self.boutique, release)
        started_s = self.history.now_s()
        self.history.mark("git", "push_started", purpose=purpose, version=release.version, t_s=started_s)
        try:
            pushed = push(self.boutique, release, f"{purpose}: version {release.version}")
        except HarnessError as err:
            self.history.mark("git", "push_refused", purpose=purpose, version=release.version, error=str(err))
            raise
        accepted_s = self.history.at_wall(pushed.accepted_wall_s)
        self.release = release
        self.history.mark(
            "git",
            "push_accepted",
            t_s=accepted_s,
            revision=pushed.revision,
            purpose=purpose,
            version=release.version,
            told_by=pushed.told_by,
        )
        if purpose == "revert":
            self._phase("recovery")
        return pushed

    def await_(self, condition: Condition, within_s: float) -> bool:
        """Wait for a condition, for at most `within_s` seconds; whether it came. The judge decides what that means."""
        try:
            wait_for("the story's condition", condition, bool, Budget(max(within_s, POLL_S), every_s=POLL_S))
        except WaitTimeout:
            return False
        return True

    # --- what it can wait for

    def delivered(self, alert: str, status: str = "firing") -> Condition:
        """On-call was told of the alert (`firing` or `resolved`)."""

        def look() -> bool:
            found = self.history.latest("receiver", "delivered", since_s=self.disturbed_s, name=alert, status=status)
            return found is not None and found.data.get("labels", {}).get("namespace") in {
                None,
                self.boutique.namespace,
            }

        return look

    def watchdog_silent(self) -> bool:
        """On-call has not heard the Watchdog for so long that it is missed."""
        heard = self.history.latest("receiver", "delivered", name=WATCHDOG)
        since_s = max(heard.t_s if heard else 0.0, self.disturbed_s)
        return self.history.now_s() - since_s > WATCHDOG_MISSED * self.context.profile.watchdog_s

    def heard_again(self) -> bool:
        """On-call has heard the Watchdog after the disturbance had ended."""
        ended = self.history.latest("story", "phase", name="recovery")
        since_s = ended.t_s if ended else self.disturbed_s
        return self.history.latest("receiver", "delivered", since_s=since_s, name=WATCHDOG) is not None

    def available(self, app: str) -> Condition:
        """The Deployment has all its pods available, after it had fewer."""

        def look() -> bool:
            found = self.history.latest("k8s", "deployment", name=app)
            return (
                found is not None
                and found.t_s >= self.disturbed_s
                and int(found.data.get("desired") or 0) > 0
                and int(found.data.get("available") or 0) >= int(found.data.get("desired") or 0)
            )

        return look

    def converged(self) -> bool:
        """The live objects equal Git and are healthy, seen after the disturbance."""
        found = self.history.latest("live", "diff")
        drifted = self.history.latest("live", "diff", since_s=self.disturbed_s) is not None
        return drifted and found is not None and bool(found.data.get("equal")) and bool(found.data.get("healthy"))

    def served(self, version: str) -> Condition:
        """A user was served by that version."""
        return lambda: (
            self.history.latest("probe", "request", since_s=self.disturbed_s, ok=True, version=version) is not None
        )

    def calm(self) -> bool:
        """Users have been served without an error for a while."""
        since_s = self.history.calm_since()
        return since_s is not None and self.history.now_s() - since_s >= CALM_S

    # --- how it ends

    def settle(self) -> None:
        """Wait for what the contract waits for, each within its budget, and for users to be calm; then end."""
        profile = self.context.profile
        for clause in self.clauses:
            if isinstance(clause, MustResolve):
                self.await_(self.delivered(clause.alert, "resolved"), profile.resolved_s() + profile.ready_s)
            elif isinstance(clause, MustFire):
                self.await_(self.delivered(clause.alert), profile.detect_s(clause.alert))
            elif isinstance(clause, WatchdogSilent):
                self.await_(self.heard_again, profile.ready_s + profile.watchdog_s)
            elif isinstance(clause, Recovers):
                self.await_(self.available(clause.app), profile.ready_s)
            elif isinstance(clause, Heals):
                self.await_(self.converged, profile.heal_s(0) + profile.ready_s)
            elif isinstance(clause, Released):
                self.await_(self.served(clause.version), profile.refresh_s + profile.sync_s + profile.ready_s)
                self.await_(self.converged, profile.ready_s)
            elif isinstance(clause, RolledBack):
                self.await_(self.converged, profile.refresh_s + profile.sync_s + profile.ready_s)
        quiet = [c for c in self.clauses if isinstance(c, MustNotFire | NothingElseFires)]
        if quiet:
            # Silence means something only after an alert would have been heard.
            bound_s = max(profile.detect_s(c.alert if isinstance(c, MustNotFire) else "") for c in quiet)
            left_s = self._last_effect_s() + bound_s + 1 - self.history.now_s()
            if left_s > 0:
                CLOCK.sleep(left_s)
        self.await_(self.calm, profile.ready_s + CALM_S)
        self._await_enough_requests()
        self._phase("end")

    def _await_enough_requests(self) -> None:
        """An error rate below 1 % means nothing before there were 100 requests: wait for as many as the limits need."""
        limits = [c.errors_below for c in self.clauses if isinstance(c, Users) and c.errors_below and c.after]
        if self.load is None or not limits:
            return
        load, needed = self.load, math.ceil(1.1 / min(limits)) + self.load.tally().requests
        self.await_(lambda: load.tally().requests >= needed or not load.alive, self.context.profile.ready_s)

    def _last_effect_s(self) -> float:
        """When the last thing was done to the platform."""
        seen = (self.history.latest("fault", "proven"), self.history.latest("git", "push_accepted"))
        return max([self.disturbed_s, *(r.t_s for r in seen if r is not None)])

    def _disturb(self) -> None:
        self.disturbed_s = self.history.now_s()
        self._phase("fault")

    def _phase(self, name: str) -> None:
        self.history.mark("story", "phase", name=name)


@contextlib.contextmanager
def telling(
    platform: Platform,
    boutique: Boutique,
    release: Release,
    *,
    run_dir: Path,
    name: str,
    title: str,
    test: str,
    blast_radius: Sequence[str],
    watch: Callable[[LiveHistory, Boutique, Callable[[], Release]], contextlib.AbstractContextManager[Any]],
    load: Callable[[LiveHistory, Path], contextlib.AbstractContextManager[Any]] | None,
    faults: Callable[[LiveHistory], FaultContext],
    known_alerts: Any,
    git_changed: Callable[[Boutique, Release], None],
) -> Iterator[Story]:
    """Record a story; the history is closed whatever happens, and `conclude` judges it.

    Args:
        platform: what it runs on.
        boutique: the instance under test.
        release: what Git asks for at the start.
        run_dir: the run's folder; the history goes to `scenarios/<name>/history.jsonl`.
        name: the scenario's name, also its folder's.
        title: one sentence.
        test: the test's id.
        blast_radius: Deployments whose pods may be touched.
        watch: makes the recorders' context manager.
        load: makes the load's context manager; None for a story without load.
        faults: makes the context for faults.
        known_alerts: the alerts that exist, for the contract.
        git_changed: told of a new release right before it is pushed.
    """
    folder = run_dir / "scenarios" / name
    profile = platform.profile
    history = LiveHistory(
        folder / "history.jsonl", scenario=name, run=run_dir.name, data=dict(platform.bundle.versions)
    )
    history.mark(
        "story",
        "start",
        title=title,
        test=test,
        namespace=boutique.namespace,
        app=boutique.app,
        overlay=release.overlay,
        profile=profile.name,
        timing={
            "scrape_s": profile.scrape_s,
            "eval_s": profile.eval_s,
            "for_s": profile.for_s,
            "group_wait_s": profile.group_wait_s,
            "resolve_s": profile.resolve_s,
            "watchdog_s": profile.watchdog_s,
            "alert_for_s": alert_for_s(profile),
        },
        image_path=platform.bundle.origin("boutique"),
        blast_radius=list(blast_radius),
    )
    context = Context(profile, known_alerts).with_rules()
    story = Story(platform, boutique, release, history, faults(history), context, git_changed)
    forget_peak()
    before_s = cpu_s()
    try:
        with contextlib.ExitStack() as running:
            running.enter_context(watch(history, boutique, lambda: story.release))
            if load is not None:
                story.load = running.enter_context(load(history, folder))
            story.await_(story.calm, profile.ready_s)
            history.mark("story", "phase", name="baseline")
            CLOCK.sleep(BASELINE_S)
            yield story
            story.settle()
    except BaseException as err:
        history.mark("story", "error", text=f"{type(err).__name__}: {err}")
        raise
    finally:
        history.mark("story", "cost", cpu_s=round(cpu_s() - before_s, 2), peak_memory_bytes=peak_memory_bytes())
        history.close()


def conclude(folder: Path, known_alerts: Any) -> ScenarioResult:
    """Judge the history in `folder` and write `result.json` beside it."""
    history = read_history(folder / "history.jsonl")
    result = judge(history, None, Context.of(history, known_alerts))
    (folder / "result.json").write_text(json.dumps(result.to_json(), indent=1, default=str))
    return result
