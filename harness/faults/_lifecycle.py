"""The life of a fault, the same for every one.

        injected(fault, ctx)
              │ resolve, guard, quiet?              error: nothing was touched
              ▼
           NOTED ──────── written in the journal
              │ arm
              ▼
           ARMED ──────── dead-men run, renewed from here on
              │ inject        (the state is set before acting: half an injection counts as one)
              ▼
          INJECTED
              │ prove                                no proof: FaultNotProven after the revert
              ▼
           PROVEN ─────── the body of the `with` holds it
              │ revert        (from NOTED, ARMED, INJECTED or PROVEN; on any error, Ctrl-C included)
              ▼
          REVERTING ───── failed: DIRTY              dead-men stay armed
              │ observe: not active
              ▼
            GONE ──────── still active: DIRTY        dead-men stay armed
              │ traces as before, dead-men disarmed
              ▼
            CLEAN ─────── struck out of the journal; otherwise DIRTY: FaultNotReverted

Errors combine and never mask: what the body raised is the cause of what the revert raised.
"""

from __future__ import annotations

import contextlib
import enum
import secrets
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from harness._errors import CommandFailed, FaultNotProven, FaultNotReverted, HarnessError, TargetError, WaitTimeout
from harness._wait import wait_for
from harness.faults import _journal, _rights
from harness.faults._deadman import Deadman, deadmen, while_armed
from harness.faults._model import Aim, Fault, FaultContext, Seen
from harness.targets import Target

T = TypeVar("T")


class State(enum.Enum):
    """Where a fault is in its life; see the drawing above."""

    NOTED = "noted"
    ARMED = "armed"
    INJECTED = "injected"
    PROVEN = "proven"
    REVERTING = "reverting"
    GONE = "gone"
    CLEAN = "clean"
    DIRTY = "dirty"


LEGAL: dict[State, frozenset[State]] = {
    State.NOTED: frozenset({State.ARMED, State.REVERTING}),
    State.ARMED: frozenset({State.INJECTED, State.REVERTING}),
    State.INJECTED: frozenset({State.PROVEN, State.REVERTING}),
    State.PROVEN: frozenset({State.REVERTING}),
    State.REVERTING: frozenset({State.GONE, State.DIRTY}),
    State.GONE: frozenset({State.CLEAN, State.DIRTY}),
    State.CLEAN: frozenset(),
    State.DIRTY: frozenset(),
}


class ActiveFault:
    """A fault that is on: what the body of `with injected(...)` gets.

    Args:
        fault: the spec.
        ctx: what it works with.
        aim: what it hits; has its id.
    """

    def __init__(self, fault: Fault, ctx: FaultContext, aim: Aim) -> None:
        self.fault, self.ctx, self.aim = fault, ctx, aim
        self.state = State.NOTED
        self.proof: dict[str, Any] = {}
        self._undos = fault.undo(ctx, aim)
        self._deadmen: tuple[Deadman, ...] = deadmen(aim.id, self._undos, ctx.env, ctx.cluster)
        self._before = Counter(fault.traces(ctx, aim))
        self._attempted = False
        self._keeper: _Keeper | None = None

    @property
    def target(self) -> Target:
        """The first of what is hit."""
        return self.aim.targets[0]

    def renew(self) -> None:
        """Push the dead-men's deadline forward; done in the background all the time."""
        for deadman in self._deadmen:
            if not deadman.renew(self.ctx.lease_s):
                raise FaultNotProven(
                    f"{self.fault.name}: its dead-man undid it", where=deadman.place.name, last="fired"
                )

    def note(self) -> None:
        """Write it down before anything is touched."""
        _journal.write(self.ctx.env, self.fault, self.aim, self._undos, self.ctx.run_id, self.ctx.clock.wall())

    def arm(self) -> None:
        """Start the dead-men, and the thread that renews them."""
        self._on_all(lambda deadman: deadman.arm(self.ctx.lease_s, self.fault.max_s))
        self._to(State.ARMED)
        self._mark("armed", {"lease_s": self.ctx.lease_s, "dead_men": [d.place.name for d in self._deadmen]})
        if self._deadmen:
            self._keeper = _Keeper(self.renew, self.ctx.lease_s / 3)

    def inject(self) -> None:
        """Do it."""
        self._to(State.INJECTED)
        self._attempted = True
        ctx = self.ctx
        if ctx.cluster is not None:
            ctx = replace(ctx, cluster=while_armed(ctx.cluster, self._deadmen))
        _api(self.fault.name, lambda: self.fault.inject(ctx, self.aim))
        self._mark("injected", {})

    def prove(self) -> None:
        """Wait until it is seen to bite; raises `FaultNotProven` when it is not within its budget."""
        clock = self.ctx.clock
        span = [clock.monotonic(), clock.monotonic()]  # last moment it was not yet seen, first moment it was

        def look() -> Seen:
            started_s = clock.monotonic()
            seen = _api(self.fault.name, lambda: self.fault.observe(self.ctx, self.aim))
            if seen.active or seen.bit:
                span[1] = clock.monotonic()
            else:
                span[0] = started_s
            return seen

        what = f"{self.fault.name} proven on {self.target}"
        try:
            seen = wait_for(what, look, lambda s: s.active or s.bit, self.fault.prove, clock=clock)
        except WaitTimeout as late:
            self._mark("unproven", getattr(late.last, "evidence", {"last": str(late.last)}))
            raise FaultNotProven(
                f"{self.fault.name}: injected, but no effect was seen within {self.fault.prove.total_s:g} s",
                where=str(self.target),
                last=late.last,
                fix=f"harness faults describe {self.fault.name}",
            ) from late
        self._to(State.PROVEN)
        self.proof = seen.evidence
        half_s = (span[1] - span[0]) / 2
        self._mark("proven", seen.evidence, ago_s=clock.monotonic() - span[1] + half_s, err_s=half_s)

    def check_held(self) -> None:
        """Raise `FaultNotProven` when a dead-man ended it before its time, or targets came that it does not hit."""
        if self._keeper is not None and self._keeper.failure is not None:
            self._mark("unproven", {"last": str(self._keeper.failure)})
            raise self._keeper.failure
        missed = _api(self.fault.name, lambda: self.fault.missed(self.ctx, self.aim))
        if missed:
            self._mark("unproven", {"missed": missed})
            raise FaultNotProven(
                f"{self.fault.name}: it does not hit what came while it was on",
                where=str(self.target),
                last=", ".join(missed),
                fix="something replaces or scales the target's pods: see the timeline",
            )

    def revert(self) -> None:
        """Undo, see that it is gone, see that nothing is left; raises `FaultNotReverted`, dead-men then stay armed."""
        self._to(State.REVERTING)
        # What heals from here on may be our doing: judges must be able to tell.
        self._mark("reverting", {})
        errors: list[Exception] = []
        if self._attempted and not self.fault.one_shot:
            for deadman in reversed(self._deadmen):
                self._collect(errors, lambda d=deadman: self._undo(d))  # type: ignore[misc]
        self._mark("reverted", {"one_shot": True} if self.fault.one_shot else {"errors": [str(e) for e in errors]})
        if self._attempted and not self.fault.one_shot:
            self._collect(errors, self._wait_gone)
        if errors:
            self._dirty(errors)
        self._to(State.GONE)
        left: list[str] = []
        self._collect(errors, lambda: left.extend(self._residue()))
        if self._keeper is not None:
            self._keeper.stop()
        if not left and not errors:
            self._collect(errors, lambda: self._on_all(Deadman.disarm))
        if left or errors:
            self._dirty(errors, left)
        self._to(State.CLEAN)
        _journal.strike_out(self.ctx.env, self.aim.id)
        self._mark("clean", {"residue": []})

    def _on_all(self, act: Callable[[Deadman], None]) -> None:
        """Do something with every dead-man at once, each on its own node; all errors are raised together."""
        if len(self._deadmen) < 2:
            for deadman in self._deadmen:
                act(deadman)
            return
        with ThreadPoolExecutor(len(self._deadmen), thread_name_prefix="dead-men") as pool:
            futures = [pool.submit(act, deadman) for deadman in self._deadmen]
        errors = [err for f in futures if (err := f.exception()) is not None]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            last = "; ".join(map(str, errors))
            raise CommandFailed("several dead-men failed", last=last) from BaseExceptionGroup("dead-men", errors)

    def _undo(self, deadman: Deadman) -> None:
        def attempt() -> str:
            try:
                done = deadman.undo_now(self.fault.clear.total_s)
            except CommandFailed as err:
                return str(err)
            return "" if done.ok else (done.err.strip() or done.out.strip() or f"exit {done.code}")[-500:]

        wait_for(
            f"{self.fault.name} undone on {deadman.place.name}",
            attempt,
            lambda trouble: trouble == "",
            self.fault.clear,
            clock=self.ctx.clock,
        )

    def _wait_gone(self) -> None:
        def look() -> Seen:
            return _api(self.fault.name, lambda: self.fault.observe(self.ctx, self.aim))

        seen = wait_for(
            f"{self.fault.name} gone from {self.target}",
            look,
            lambda s: not s.active,
            self.fault.clear,
            clock=self.ctx.clock,
        )
        self._mark("gone", seen.evidence)

    def _residue(self) -> list[str]:
        def look() -> list[str]:
            after = Counter(self.fault.traces(self.ctx, self.aim))
            more, less = after - self._before, self._before - after
            return [f"+ {line}" for line in more.elements()] + [f"- {line}" for line in less.elements()]

        try:
            wait_for("no residue", look, lambda found: not found, self.fault.clear, clock=self.ctx.clock)
        except WaitTimeout as late:
            return list(late.last) if isinstance(late.last, list) else [str(late.last)]
        return []

    def _dirty(self, errors: list[Exception], left: list[str] | None = None) -> None:
        if self._keeper is not None:
            self._keeper.stop()
        self._to(State.DIRTY)
        self._mark("dirty", {"residue": left or [], "errors": [str(e) for e in errors]})
        raise FaultNotReverted(
            f"{self.fault.name}: the environment is dirty",
            where=str(self.target),
            last="; ".join([*(left or []), *map(str, errors)]),
            fix="harness sweep",
        ) from (errors[0] if len(errors) == 1 else ExceptionGroup("reverting failed", errors) if errors else None)

    @staticmethod
    def _collect(errors: list[Exception], act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as err:  # noqa: BLE001 - every step of the revert runs; all errors are raised together
            errors.append(err)

    def _to(self, state: State) -> None:
        if state not in LEGAL[self.state]:
            raise RuntimeError(f"{self.fault.name}: {self.state.value} cannot become {state.value}")
        self.state = state

    def _mark(self, event: str, evidence: dict[str, Any], *, ago_s: float = 0.0, err_s: float = 0.0) -> None:
        history = self.ctx.history
        if history is None:
            return
        extra = {"residue": evidence.get("residue", [])} if event in {"clean", "dirty"} else {}
        history.mark(
            "fault",
            event,
            t_s=history.now_s() - ago_s,
            err_s=err_s,
            fault=self.fault.name,
            id=self.aim.id,
            target=self.target.as_dict(),
            targets=[t.as_dict() for t in self.aim.targets],
            mechanism=self.aim.mechanism,
            max_s=self.fault.max_s,
            evidence=evidence,
            **extra,
        )


class _Keeper:
    """The thread that renews the dead-men; remembers when one has fired."""

    def __init__(self, renew: Callable[[], None], every_s: float) -> None:
        self.failure: FaultNotProven | None = None
        self._renew, self._every_s, self._stop = renew, every_s, threading.Event()
        self._thread = threading.Thread(target=self._loop, name="dead-man-renewal", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        pause_s = self._every_s
        while not self._stop.wait(pause_s):
            pause_s = self._every_s
            try:
                self._renew()
            except FaultNotProven as fired:
                self.failure = fired
                return
            except HarnessError:
                pause_s = self._every_s / 10  # the place cannot be reached now: ask again soon, the deadline decides

    def stop(self) -> None:
        """End it, and wait for a renewal that is under way."""
        self._stop.set()
        self._thread.join()


def _api(name: str, act: Callable[[], T]) -> T:
    """Run `act`; what the API server refuses becomes an error of ours, never a pass."""
    try:
        return act()
    except HarnessError:
        raise
    except Exception as err:
        status = getattr(err, "status", None)
        if type(err).__module__.startswith("kubernetes") or status is not None:
            kind = TargetError if status in (401, 403) else HarnessError
            why = str(getattr(err, "summary", lambda: "")() or getattr(err, "reason", "") or err)[:300]
            raise kind(f"{name}: the API refused", last=f"{status} {why}") from err
        if type(err).__module__.startswith("urllib3"):
            raise HarnessError(f"{name}: the API does not answer", last=repr(err)[:300]) from err
        raise


@contextlib.contextmanager
def _deferred_signals() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the block has ended: a revert is not interrupted half-way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    before = {s: signal.signal(s, lambda number, _: pending.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending[0])


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM (a pipeline that is cancelled) ends the block as Ctrl-C does, so that the fault is reverted."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def begin(fault: Fault, ctx: FaultContext) -> ActiveFault:
    """Resolve, guard, and see that the detector is quiet; nothing is touched yet.

    Raises:
        TargetError: no such target, or one outside the allow-list.
        HarnessError: it looks as if the fault were on already.
    """
    aim = replace(_api(fault.name, lambda: fault.resolve(ctx)), id=secrets.token_hex(4))
    if not aim.targets:
        raise TargetError(f"{fault.name}: nothing to hit")
    for target in aim.targets:
        ctx.allowed.check(target)
    if ctx.cluster.kubectl:  # not our own cluster: somebody else has said what we may do
        _api(fault.name, lambda: _rights.check(ctx, fault, aim))
    active = _api(fault.name, lambda: ActiveFault(fault, ctx, aim))
    seen = _api(fault.name, lambda: fault.observe(ctx, aim))
    if seen.active or seen.bit:
        raise HarnessError(
            f"{fault.name}: looks active before it was injected, so its proof would prove nothing",
            where=str(active.target),
            last=seen,
            fix="harness sweep, and see that the target is healthy",
        )
    return active


@contextlib.contextmanager
def injected(fault: Fault, ctx: FaultContext) -> Iterator[ActiveFault]:
    """Inject a fault, prove it, hold it for the body, revert it, prove that it is gone.

    Raises:
        TargetError: no such target, or one outside the allow-list; nothing was touched.
        FaultNotProven: no effect was seen, or the dead-man ended it early; it is reverted all the same.
        FaultNotReverted: the environment is dirty; what the body raised is its cause.
    """
    active = begin(fault, ctx)
    with _terminable():
        failure: BaseException | None = None
        try:
            active.note()
            active.arm()
            active.inject()
            active.prove()
            yield active
            active.check_held()
        except BaseException as err:
            failure = err
            raise
        finally:
            with _deferred_signals():
                try:
                    active.revert()
                except FaultNotReverted as late:
                    if failure is not None and late.__cause__ is not None:
                        late.add_note(f"the revert failed because of: {late.__cause__!r}")
                    raise late from (failure or late.__cause__)


@contextlib.contextmanager
def all_injected(faults: list[Fault], ctx: FaultContext) -> Iterator[list[ActiveFault]]:
    """Several faults at the same time; unwound in reverse, each with its own life."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(injected(fault, ctx)) for fault in faults]
