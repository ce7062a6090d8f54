"""The drill on a real cluster: a representative part by default, everything that can be aimed with HARNESS_DRILL=all."""

from __future__ import annotations

import base64
import multiprocessing
import os
import pickle
from collections.abc import Iterator

import pytest

from harness._errors import HarnessError, TargetError
from harness.faults import FaultContext, PodKill, Workload, injected, sweep
from harness.faults import drill as drills

pytestmark = [pytest.mark.live, pytest.mark.exclusive]

PART = ("network.partition", "pod.kept-down", "gitops.drift-scale")
NAMES = tuple(drills.SPECS) if os.environ.get("HARNESS_DRILL") == "all" else PART
STEPS = drills.STEPS if os.environ.get("HARNESS_DRILL") == "all" else ("noted", "armed", "holding", "reverting")


@pytest.fixture(scope="module")
def ctx() -> Iterator[FaultContext]:
    try:
        found = drills.context()
    except HarnessError as err:
        pytest.skip(f"no platform: {err}")
    drills.shop(found.kube)
    try:
        yield found
    finally:
        sweep(found)
        found.kube.delete("Namespace", drills.NAMESPACE)


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_bites_is_reverted_and_never_outlives_its_runner(ctx: FaultContext, name: str) -> None:
    row = drills.drill(name, ctx, STEPS)
    assert row.good, row.trouble


def test_the_sweep_undoes_at_once_what_a_killed_runner_left(ctx: FaultContext) -> None:
    aim_file = ctx.env.state_dir / "drill-sweep.aim"
    runner = multiprocessing.get_context("spawn").Process(
        target=drills.die_at, args=("network.partition", "holding", str(aim_file), 120.0)
    )
    runner.start()
    runner.join(120)
    _, aim, before = pickle.loads(base64.b64decode(aim_file.read_bytes()))  # noqa: S301 - our own file of this moment
    aim_file.unlink()
    fault = drills.build("network.partition", ctx)
    assert fault.observe(ctx, aim).active, "its lease is long: it is still on"
    assert [s.id for s in sweep(ctx)] == [aim.id]
    assert drills.dirt(fault, ctx, aim, before) == []


def test_no_matching_pod_is_an_error(ctx: FaultContext) -> None:
    with (
        pytest.raises(TargetError, match="no running pod"),
        injected(PodKill(target=Workload(drills.NAMESPACE, "nobody")), ctx),
    ):
        pass


def test_a_namespace_outside_the_allow_list_is_an_error(ctx: FaultContext) -> None:
    with pytest.raises(TargetError, match="allow-list"), injected(PodKill(target=Workload("default", "x")), ctx):
        pass
