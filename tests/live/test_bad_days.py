"""Bad days of faults, on a real cluster: interrupted, killed, refused, aimed at nothing. Never a pass, never a trace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness._clock import CLOCK, SystemClock
from harness._errors import TargetError
from harness._wait import Budget, wait_for
from harness.clusters.base import Node
from harness.env import current_env
from harness.faults import FaultContext, KeptDown, PodKill, Workload, injected, sweep
from harness.faults import drill as drills
from harness.faults._deadman import leftovers, place
from harness.faults.network_partition import Partition
from harness.kube import Kube

pytestmark = [pytest.mark.live, pytest.mark.exclusive]

ROOT = Path(__file__).parents[2]
HARNESS = str(Path(sys.executable).with_name("harness"))
SPACE = drills.NAMESPACE
CALLEE, CALLER = Workload(SPACE, "callee"), Workload(SPACE, "caller")
PARTITION = ("network.partition", "--set", f"target={SPACE}/callee", "--set", f"source={SPACE}/caller")
SOON = Budget(90, every_s=0.5)


@pytest.fixture(scope="module")
def ctx() -> Iterator[FaultContext]:
    """The drill's namespace on the environment that is up."""
    found = drills.context()
    drills.shop(found.kube)
    yield replace(found, lease_s=30.0)
    sweep(found)
    found.kube.delete("Namespace", SPACE)


def armed(ctx: FaultContext) -> list[str]:
    """Every dead-man on any node."""
    return [d for n in ctx.cluster.nodes for d in leftovers(place(n.name, ctx.env, ctx.cluster))]


def rules(ctx: FaultContext) -> list[str]:
    """Rules of ours in any network namespace of the nodes."""
    script = "for n in $(ip netns list | cut -d' ' -f1); do ip netns exec $n iptables -S; done 2>/dev/null | grep -- rh- || :"
    return [line for n in ctx.cluster.nodes for line in n.run(["sh", "-c", script], timeout_s=60).out.splitlines()]


@contextmanager
def running(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A fault by the command line, which is on when the block begins; killed at its end if it still runs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or a child of a background job would ignore it
    command = [HARNESS, "faults", "run", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = ""
        while " is on: " not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_runner_reverts(ctx: FaultContext, how: signal.Signals) -> None:
    """Ctrl-C, and a pipeline that is cancelled."""
    with running(*PARTITION, "--for", "120s") as process:
        assert rules(ctx)
        process.send_signal(how)
        assert process.wait(60) == 130
    assert rules(ctx) == []
    assert armed(ctx) == []


def test_what_a_killed_runner_left_is_found_and_undone_at_once(ctx: FaultContext) -> None:
    """SIGKILL, and `harness sweep` long before the dead-man's deadline."""
    with running(*PARTITION, "--for", "120s") as process:
        process.kill()
        process.wait(10)
    assert rules(ctx), "its lease is 30 s: it is still on"
    done = subprocess.run([HARNESS, "sweep"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "network.partition" in done.stdout + done.stderr
    assert rules(ctx) == []
    assert armed(ctx) == []


def test_what_a_killed_runner_left_is_undone_when_the_next_run_starts(ctx: FaultContext) -> None:
    """SIGKILL, and then just the next `pytest scenarios/`, in which no scenario is chosen."""
    with running(*PARTITION, "--for", "120s") as process:
        process.kill()
        process.wait(10)
    assert rules(ctx), "its lease is 30 s: it is still on"
    command = [sys.executable, "-m", "pytest", str(ROOT / "scenarios"), "-k", "no_such_scenario"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    assert "undone: network.partition" in done.stdout + done.stderr
    assert rules(ctx) == []
    assert armed(ctx) == []


def test_a_second_run_is_refused_and_told_who_the_first_is(ctx: FaultContext) -> None:
    """A Lease in the cluster; the second touches nothing."""
    with running(*PARTITION, "--for", "120s") as first:
        uids = {p["metadata"]["uid"] for p in ctx.kube.list("Pod", SPACE)}
        second = subprocess.run(
            [HARNESS, "faults", "run", "pod.kill", "--set", f"target={SPACE}/callee"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert f"another run is using this cluster: cli-{first.pid}" in second.stderr
        assert {p["metadata"]["uid"] for p in ctx.kube.list("Pod", SPACE)} == uids
        first.send_signal(signal.SIGTERM)
        first.wait(60)


def test_a_target_that_goes_while_the_fault_is_on_leaves_nothing(ctx: FaultContext) -> None:
    """Both pods that hold our rules are deleted in the middle."""
    with injected(Partition(target=CALLEE, source=CALLER), ctx) as active:
        for target in active.aim.targets:
            ctx.kube.delete("Pod", target.name, target.namespace, uid=target.uid, grace_s=0)
    assert rules(ctx) == []
    assert armed(ctx) == []
    drills.settle(ctx.kube)


def test_an_api_server_that_is_down_during_the_revert_is_waited_for(ctx: FaultContext) -> None:
    """It is switched off on its node for 15 s, right when the fault is to be reverted."""
    node = ctx.cluster.control_plane
    with injected(KeptDown(target=CALLEE, max_s=300), ctx):
        _api_off(node, 15)
    wait_for("the API", lambda: len(ctx.kube.list("Node")), bool, SOON)
    drills.settle(ctx.kube)
    assert armed(ctx) == []


def _api_off(node: Node, seconds: int) -> None:
    manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
    back = f"mv /root/kube-apiserver.yaml {manifest}"
    # Armed first: whatever becomes of this test, the API server comes back.
    timer = ["systemd-run", "-q", f"--on-active={seconds}s", "--timer-property=AccuracySec=100ms", "sh", "-c", back]
    node.run(timer)
    node.run(["sh", "-c", f"mv {manifest} /root/kube-apiserver.yaml && sleep 0.5 && pkill -KILL -x kube-apiserver"])
    gone = "! ss -ltn | grep -q ':6443 '"
    wait_for("the API gone", lambda: node.run(["sh", "-c", gone], check=False).ok, bool, Budget(14, every_s=0.2))


class Stepped(SystemClock):
    """A wall clock that is set forward by an hour, once it is told to."""

    step_s = 0.0

    def wall(self) -> float:
        """Seconds since the epoch."""
        return CLOCK.wall() + self.step_s


def test_a_step_of_the_runners_clock_changes_nothing(ctx: FaultContext) -> None:
    """Deadlines are on the nodes' uptime."""
    clock = Stepped()
    with injected(Partition(target=CALLEE, source=CALLER), replace(ctx, clock=clock)) as active:
        clock.step_s = 3600.0
        active.renew()
        assert rules(ctx)
    assert rules(ctx) == []
    assert armed(ctx) == []


def test_what_rbac_denies_is_an_error(ctx: FaultContext, tmp_path: Path) -> None:
    """A service account that may look but not delete: never a pass."""
    kube = ctx.kube
    meta = {"name": "looker", "namespace": SPACE}
    kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    subject = {"kind": "ServiceAccount", "name": "looker", "namespace": SPACE}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta}
    kube.apply({**binding, "roleRef": role, "subjects": [subject]})
    kubectl = str(ctx.tool("kubectl"))
    base = [kubectl, "--kubeconfig", str(ctx.env.kubeconfig)]
    token = subprocess.run(
        [*base, "create", "token", "looker", "-n", SPACE], capture_output=True, text=True, timeout=30, check=True
    )
    text = re.sub(r"client-(certificate|key)-data: .*", "", ctx.env.kubeconfig.read_text())
    narrow = tmp_path / "kubeconfig"
    narrow.write_text(re.sub(r"(?m)^(\s+)user:\s*$", rf"\1user:\n\1  token: {token.stdout.strip()}", text))
    uids = {p["metadata"]["uid"] for p in kube.list("Pod", SPACE)}
    denied = replace(ctx, kube=Kube(narrow))
    with pytest.raises(TargetError, match="the API refused"), injected(PodKill(target=CALLEE), denied):
        pass
    assert {p["metadata"]["uid"] for p in kube.list("Pod", SPACE)} == uids


def test_a_target_that_is_going_already_is_none(ctx: FaultContext) -> None:
    """A pod that is terminating (held by a finalizer) is neither hit nor counted."""
    name = "leaving"
    pod = next(p for p in ctx.kube.list("Pod", SPACE) if p["metadata"]["labels"]["app"] == "callee")
    container = {"name": "server", "image": pod["spec"]["containers"][0]["image"]}
    meta = {"name": name, "namespace": SPACE, "labels": {"app": name}, "finalizers": ["resilience.test/hold"]}
    ctx.kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}})
    try:
        ctx.kube.delete("Pod", name, SPACE, grace_s=1)
        with pytest.raises(TargetError, match="no running pod"), injected(PodKill(target=Workload(SPACE, name)), ctx):
            pass
    finally:
        ctx.kube.patch("Pod", name, SPACE, {"metadata": {"finalizers": None}})


def test_outside_the_allow_list_nothing_is_armed(ctx: FaultContext) -> None:
    """The journal, the nodes and the target are as they were."""
    target = Workload("kube-system", "coredns")
    allowed = replace(ctx.allowed, namespaces=frozenset({SPACE}))
    with (
        pytest.raises(TargetError, match="allow-list"),
        injected(Partition(target=target, source=CALLER), replace(ctx, allowed=allowed)),
    ):
        pass
    assert armed(ctx) == []
    assert rules(ctx) == []


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["pod.kil", "--set", "target=a/b"], 2, "no fault is called 'pod.kil'"),
        (["pod.kill"], 2, "needs target"),
        (["pod.kill", "--set", "aim=a/b"], 2, "has no field 'aim'"),
        ([*PARTITION, "--for", "0s"], 2, "a duration cannot be '0s'"),
        ([*PARTITION, "--for", "-5s"], 2, "a duration cannot be '-5s'"),
        ([*PARTITION, "--for", "20m"], 2, "cannot be held for 1200 s"),
        (["network.loss", *PARTITION[1:], "--set", "loss_pct=140"], 2, "loss_pct"),
        (["pod.kill", "--set", f"target={SPACE}/nobody"], 1, "no running pod"),
        (["pod.kill", "--set", "target=no-such-namespace/cart"], 1, ""),
        (["node.reboot", "--set", "node=no-such-node"], 1, "no node 'no-such-node'"),
    ],
)
def test_bad_input_is_said_before_anything_is_touched(ctx: FaultContext, args: list[str], code: int, says: str) -> None:
    """By the command line, as a person would; no traceback."""
    done = subprocess.run(
        [HARNESS, "faults", "run", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HARNESS_ENV": current_env().name},
    )
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert armed(ctx) == []
