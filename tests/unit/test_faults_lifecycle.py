"""The life of a fault: thousands of random lives with forced errors, and each rule by itself."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness._errors import CommandFailed, FaultNotProven, FaultNotReverted, HarnessError, TargetError, UsageError
from harness._run import Completed
from harness._wait import Budget
from harness.clusters.base import Cluster
from harness.env import Env
from harness.faults import _journal
from harness.faults._deadman import HOST, deadmen, leftovers, place
from harness.faults._lifecycle import LEGAL, ActiveFault, State, all_injected, injected
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload
from harness.faults._sweep import sweep
from harness.targets import Allowed, Target


class FakeClock:
    def __init__(self) -> None:
        self.t = 0.0

    def monotonic(self) -> float:
        return self.t

    def wall(self) -> float:
        return 1e9 + self.t

    def sleep(self, seconds: float) -> None:
        self.t += seconds


class NoKube:
    def list(self, *_: Any, **__: Any) -> list[Any]:
        return []


@dataclass
class World:
    """The machine that the no-op fault breaks, and what is told to fail: step -> how many more times."""

    on: bool = False
    armed: dict[str, int] = field(default_factory=dict)
    fail: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.log.append(name)
        if self.fail.get(name, 0) > 0:
            self.fail[name] -= 1
            raise CommandFailed(f"forced: {name}")


@dataclass
class FakeNode:
    """A node that understands the dead-man's scripts by their first line."""

    world: World
    name: str = "node"
    role: str = "control-plane"

    def run(self, args: Any, *, timeout_s: float = 15, stdin: Any = None, check: bool = True) -> Completed:
        verb, deadman = [*str(stdin).splitlines()[0].split(), "", "", ""][2:4]
        self.world.step(verb)
        code = 0
        if verb == "arm":
            self.world.armed[deadman] = 1
        elif verb == "renew":
            code = 0 if deadman in self.world.armed else 3
        elif verb == "undo":
            self.world.on = False
        elif verb == "disarm":
            self.world.armed.pop(deadman, None)
        elif verb == "list":
            return Completed(tuple(args), 0, "\n".join(f"{d}/" for d in self.world.armed), "", 0)
        elif verb == "read":
            return Completed(tuple(args), 0, "true", "", 0)
        return Completed(tuple(args), code, "", "", 0)


@dataclass(frozen=True, kw_only=True)
class NoOp(Fault):
    name: ClassVar[str] = "noop"
    prove: ClassVar[Budget] = Budget(1, every_s=0.2)
    clear: ClassVar[Budget] = Budget(1, every_s=0.2)

    world: World
    half: bool = False

    def resolve(self, ctx: FaultContext) -> Aim:
        self.world.step("resolve")
        return Aim((Target("Pod", "ns", "p", "u", "node"),), "none")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        return (Undo("node", "true"),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        self.world.on = self.half or self.world.on  # an injection that fails half-way has done something
        self.world.step("inject")
        self.world.on = True

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        self.world.step("observe")
        return Seen(self.world.on)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        self.world.step("traces")
        return ["rule"] if self.world.on else []

    def spec(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def ctx(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultContext:
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path))
    cluster = Cluster("fake", tmp_path, (FakeNode(world),))
    return FaultContext(
        env=Env("unit"),
        kube=NoKube(),  # type: ignore[arg-type]
        cluster=cluster,
        allowed=Allowed(frozenset({"ns"})),
        clock=FakeClock(),
        lease_s=600,
    )


STEPS = ("resolve", "arm", "inject", "observe", "traces", "undo", "disarm")


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fail=st.dictionaries(st.sampled_from(STEPS), st.integers(1, 12), max_size=4),
    half=st.booleans(),
    body=st.sampled_from(["ok", "error", "ctrl-c"]),
)
def test_every_life_ends_clean_or_says_that_it_is_dirty(
    ctx: FaultContext, world: World, fail: dict[str, int], half: bool, body: str
) -> None:
    world.on, world.armed, world.fail = False, {}, dict(fail)
    raised: BaseException | None = None
    reached = False
    try:
        with injected(NoOp(world=world, half=half), ctx) as active:
            reached = True
            assert active.state is State.PROVEN
            assert world.on
            if body == "error":
                raise ValueError("body")
            if body == "ctrl-c":
                raise KeyboardInterrupt
    except BaseException as err:  # noqa: BLE001 - Ctrl-C is one of the bodies
        raised = err
    if isinstance(raised, FaultNotReverted):
        # Dirty: the dead-man is still there if it was armed, and the journal remembers.
        assert _journal.entries(ctx.env)
        if reached:
            assert world.armed or world.fail.get("disarm", 0) >= 0
    else:
        assert not world.on
        assert not world.armed
        assert not _journal.entries(ctx.env)
        if reached:
            assert {"ok": type(None), "error": ValueError, "ctrl-c": KeyboardInterrupt}[body] is type(raised)
    chain = []
    while raised is not None:
        chain.append(type(raised))
        raised = raised.__cause__ or raised.__context__
    if reached and body != "ok":
        assert {"error": ValueError, "ctrl-c": KeyboardInterrupt}[body] in chain, "the body's error was masked"
    for entry in _journal.entries(ctx.env):
        _journal.strike_out(ctx.env, entry.id)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.sampled_from(list(State)), max_size=12))
def test_no_state_is_reached_but_along_the_drawing(ctx: FaultContext, world: World, moves: list[State]) -> None:
    world.on, world.fail = False, {}
    active = ActiveFault(NoOp(world=world), ctx, Aim((Target("Pod", "ns", "p", "u"),), "none", id="x"))
    for move in moves:
        before = active.state
        if move in LEGAL[before]:
            active._to(move)
            assert active.state is move
        else:
            with pytest.raises(RuntimeError, match="cannot become"):
                active._to(move)
            assert active.state is before


def test_the_dead_man_is_armed_before_the_fault_and_disarmed_after_it_is_gone(ctx: FaultContext, world: World) -> None:
    with injected(NoOp(world=world), ctx):
        pass
    order = [s for s in world.log if s in ("arm", "inject", "undo", "disarm")]
    assert order == ["arm", "inject", "undo", "disarm"]


def test_a_target_outside_the_allow_list_is_refused_before_anything_is_touched(ctx: FaultContext, world: World) -> None:
    from dataclasses import replace

    with (
        pytest.raises(TargetError, match="allow-list"),
        injected(NoOp(world=world), replace(ctx, allowed=Allowed(frozenset()))),
    ):
        pass
    assert "arm" not in world.log
    assert "inject" not in world.log


def test_a_fault_that_looks_active_already_is_refused(ctx: FaultContext, world: World) -> None:
    world.on = True
    with pytest.raises(HarnessError, match="looks active before"), injected(NoOp(world=world), ctx):
        pass
    assert "inject" not in world.log


def test_no_effect_is_unproven_and_reverted(ctx: FaultContext, world: World) -> None:
    class Blunt(NoOp):
        def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
            return Seen(False)

    with pytest.raises(FaultNotProven, match="no effect was seen"), injected(Blunt(world=world), ctx):
        pytest.fail("the body must not run")
    assert not world.on
    assert not world.armed


def test_a_fault_that_stays_leaves_its_dead_man_armed(ctx: FaultContext, world: World) -> None:
    world.fail["undo"] = 10_000
    with pytest.raises(FaultNotReverted, match="dirty") as caught, injected(NoOp(world=world), ctx):
        pass
    assert world.armed
    assert "forced: undo" in str(caught.value)
    world.fail.clear()


def test_residue_is_named(ctx: FaultContext, world: World) -> None:
    class Messy(NoOp):
        def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
            return ["a forgotten rule"] if "undo" in world.log else []

    with pytest.raises(FaultNotReverted, match="a forgotten rule"), injected(Messy(world=world), ctx):
        pass


def test_simultaneous_faults_unwind_in_reverse(ctx: FaultContext) -> None:
    order: list[str] = []

    class Named(NoOp):
        tag: ClassVar[str] = ""

        def inject(self, ctx: FaultContext, aim: Aim) -> None:
            super().inject(ctx, aim)
            order.append(f"+{self.tag}")

        def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
            if f"+{self.tag}" in order:
                order.append(f"-{self.tag}")
            return []

    class One(Named):
        tag = "1"

    class Two(Named):
        tag = "2"

    worlds = World(), World()
    nodes = tuple(FakeNode(w, name=f"n{i}") for i, w in enumerate(worlds))
    object.__setattr__(ctx, "cluster", Cluster("fake", ctx.env.state_dir, nodes))
    for kind, node in ((One, "n0"), (Two, "n1")):
        kind.undo = lambda self, ctx, aim, node=node: (Undo(node, "true"),)  # type: ignore[method-assign,assignment,misc]
    with all_injected([One(world=worlds[0]), Two(world=worlds[1])], ctx):
        assert order == ["+1", "+2"]
    assert order == ["+1", "+2", "-2", "-1"]


@pytest.fixture
def foreground() -> Iterator[None]:
    """A job that was started in the background ignores Ctrl-C, and so would this test."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
def test_ctrl_c_during_the_revert_waits_until_it_is_done(ctx: FaultContext, world: World) -> None:
    class Interrupted(NoOp):
        def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
            if "undo" in world.log:
                signal.raise_signal(signal.SIGINT)
            return []

    with pytest.raises(KeyboardInterrupt), injected(Interrupted(world=world), ctx):
        pass
    assert not world.on
    assert not world.armed


def test_a_cancelled_pipeline_reverts_as_ctrl_c_does(ctx: FaultContext, world: World) -> None:
    with pytest.raises(KeyboardInterrupt), injected(NoOp(world=world), ctx):
        signal.raise_signal(signal.SIGTERM)
    assert "inject" in world.log
    assert not world.on
    assert not world.armed
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_early_dead_man_makes_the_fault_unproven(ctx: FaultContext, world: World) -> None:
    def hold() -> None:
        with injected(NoOp(world=world), ctx) as active:
            assert active._keeper is not None
            world.armed.clear()  # it has fired
            with pytest.raises(FaultNotProven) as fired:
                active.renew()
            active._keeper.failure = fired.value

    with pytest.raises(FaultNotProven, match="dead-man undid it"):
        hold()
    assert not world.on


@pytest.mark.parametrize("max_s", [0, -1, 1e9])
def test_a_duration_that_cannot_be_is_refused(world: World, max_s: float) -> None:
    with pytest.raises(UsageError, match="max_s"):
        NoOp(world=world, max_s=max_s)


def test_a_workload_name_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="namespace"):
        Workload("Not A Namespace", "x")


def test_sweep_undoes_what_a_dead_runner_left_and_leaves_a_living_one_alone(ctx: FaultContext, world: World) -> None:
    aim = Aim((Target("Pod", "ns", "p", "u"),), "none", id="dead")
    fault = NoOp(world=world)
    path = _journal.write(ctx.env, fault, aim, fault.undo(ctx, aim), "r", 0.0)
    world.on, world.armed = True, {"dead-0": 1}
    assert sweep(ctx) == []
    assert world.on, "its runner (this process) lives"
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "pid_start": "1"}))
    assert [s.id for s in sweep(ctx)] == ["dead"]
    assert not world.on
    assert not world.armed
    assert sweep(ctx) == []


def test_sweep_forgets_what_went_with_a_node_that_is_no_more(ctx: FaultContext, world: World) -> None:
    aim = Aim((Target("Pod", "ns", "p", "u"),), "none", id="old")
    path = _journal.write(ctx.env, NoOp(world=world), aim, (Undo("node-of-an-older-cluster", "false"),), "r", 0.0)
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid_start": "1"}))
    assert [s.id for s in sweep(ctx)] == ["old"]
    assert not _journal.entries(ctx.env)


def test_sweep_finds_a_dead_man_without_a_journal(ctx: FaultContext, world: World) -> None:
    world.on, world.armed = True, {"lost-0": 1}
    assert [(s.id, s.found_by) for s in sweep(ctx)] == [("lost", "dead-man")]
    assert not world.on


def _host_deadman(ctx: FaultContext, tmp_path: Path) -> Any:
    return deadmen("t", (Undo(HOST, f"echo undone >> {tmp_path}/mark"),), ctx.env, None)[0]


def _wait(path: Path, there: bool, within_s: float) -> bool:
    from harness._clock import CLOCK

    end = CLOCK.monotonic() + within_s
    while path.exists() != there and CLOCK.monotonic() < end:
        CLOCK.sleep(0.02)
    return path.exists() == there


def test_a_real_dead_man_fires_when_nobody_renews_it(ctx: FaultContext, tmp_path: Path) -> None:
    deadman = _host_deadman(ctx, tmp_path)
    deadman.arm(0.3, 60)
    assert _wait(tmp_path / "mark", True, 5)
    assert _wait(Path(deadman.folder), False, 5), "it removes itself"
    assert deadman.renew(0.3) is False


def test_a_real_dead_man_is_quiet_while_renewed_and_after_it_is_disarmed(ctx: FaultContext, tmp_path: Path) -> None:
    deadman = _host_deadman(ctx, tmp_path)
    deadman.arm(0.5, 60)
    pid = int((Path(deadman.folder) / "pid").read_text())
    assert deadman.renew(60)
    assert not _wait(tmp_path / "mark", True, 0.8)
    assert leftovers(place(HOST, ctx.env, None)) == ["t-0"]
    deadman.disarm()
    assert _wait(Path(f"/proc/{pid}"), False, 3) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    assert not (tmp_path / "mark").exists()


def test_a_real_dead_man_never_lets_a_fault_outlive_its_limit(ctx: FaultContext, tmp_path: Path) -> None:
    deadman = _host_deadman(ctx, tmp_path)
    deadman.arm(0.2, 0.4)
    deadman.renew(600)
    assert _wait(tmp_path / "mark", True, 5)
    deadman.disarm()
    assert os.path.exists(tmp_path / "mark")


@dataclass(frozen=True, kw_only=True)
class Outrun(NoOp):
    """Its target's pods are replaced while it is on."""

    name: ClassVar[str] = "outrun"

    def missed(self, ctx: FaultContext, aim: Aim) -> list[str]:
        return ["pod ns/new"] if self.world.on else []


def test_a_fault_that_its_targets_have_outrun_proves_nothing_and_is_reverted(ctx: FaultContext, world: World) -> None:
    with pytest.raises(FaultNotProven, match="pod ns/new"), injected(Outrun(world=world), ctx):
        assert world.on
    assert not world.on
    assert not world.armed


def test_two_dead_men_are_armed_at_once_and_their_errors_come_together(ctx: FaultContext, world: World) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Twice(NoOp):
        name: ClassVar[str] = "twice"

        def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
            return (Undo("node", "true"), Undo("node", "true"))

    with injected(Twice(world=world), ctx):
        assert len(world.armed) == 2
    assert not world.armed
    world.fail = {"arm": 2}
    with pytest.raises(CommandFailed, match=r"forced: arm; forced: arm"), injected(Twice(world=world), ctx):
        pytest.fail("it was not armed")
    assert not world.on
