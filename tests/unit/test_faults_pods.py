"""Faults of pods and of GitOps: specs that cannot be are refused, and undo scripts say what they undo by identity."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness._errors import HarnessError, UsageError
from harness.faults import Object, Workload, _drift
from harness.faults._containers import Box
from harness.faults._kubectl import patch_back_line
from harness.faults._model import Aim, Fault
from harness.faults.gitops_drift_delete import DriftDelete
from harness.faults.gitops_drift_field import DriftField
from harness.faults.gitops_drift_scale import DriftScale
from harness.faults.lease import DURATION_S, PROCESS, RunLeaseHeld, run_lease
from harness.faults.network_latency import Latency
from harness.faults.pod_cpu_starve import CpuStarve
from harness.faults.pod_kept_down import KeptDown
from harness.faults.pod_kill import PodKill
from harness.faults.pod_pause import Pause
from harness.targets import Target

SHOP = Workload("boutique-a", "cartservice")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PodKill(target=SHOP, mode="gently"), "mode cannot be 'gently'"),
        (lambda: PodKill(target=SHOP, which="some"), "which cannot be"),
        (lambda: Pause(target=SHOP, max_s=0), "max_s cannot be 0"),
        (lambda: KeptDown(target=SHOP, max_s=-5), "max_s cannot be -5"),
        (lambda: CpuStarve(target=SHOP, cpu_pct=140), "cpu_pct cannot be 140"),
        (lambda: DriftScale(target=SHOP, replicas=-1), "replicas cannot be -1"),
        (lambda: DriftField(target=Object("Pod", "n", "p"), pointer="/spec/x", value=1), "drift of a 'Pod'"),
        (lambda: DriftField(target=Object("Service", "n", "s"), pointer="/status/x", value=1), "pointer cannot be"),
        (lambda: DriftDelete(target=Object("Node", "", "n")), "drift of a 'Node'"),
        (lambda: Latency(target=SHOP, source=SHOP, delay_ms=0), "delay_ms cannot be 0"),
        (lambda: Latency(target=SHOP, source=SHOP, delay_ms=50, jitter_ms=60), "jitter_ms cannot be 60"),
        (lambda: Workload("boutique-a", "cart service"), "name 'cart service'"),
        (lambda: Workload("boutique-a", "x", kind="Pod"), "cannot be a 'Pod'"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert says in str(caught.value)


def test_an_original_can_be_created_again() -> None:
    live = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "n", "uid": "u", "resourceVersion": "5", "labels": {"app": "s"}},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]},
        "status": {"loadBalancer": {}},
    }
    made = _drift.original(live)
    assert made["metadata"] == {"name": "s", "namespace": "n", "labels": {"app": "s"}}
    assert "status" not in made
    assert made["spec"] == {"clusterIP": "10.0.0.1"}


@pytest.mark.parametrize(
    ("pointer", "value"), [("/spec/ports/0/port", 80), ("/spec/ports/3/port", None), ("/spec/a~1b", 1), ("/none", None)]
)
def test_a_json_pointer_is_followed(pointer: str, value: object) -> None:
    assert _drift.at({"spec": {"ports": [{"port": 80}], "a/b": 1}}, pointer) == value


def _kubectl(folder: Path, answer: str, code: int) -> str:
    fake = folder / "kubectl"
    fake.write_text(f"#!/bin/sh\necho \"$@\" >> {folder}/calls\necho '{answer}' >&2\nexit {code}\n")
    fake.chmod(0o755)
    line = patch_back_line(
        "services", "s", "n", "uid-1", [("/spec/x", 2)], [{"op": "replace", "path": "/spec/x", "value": 1}]
    )
    script = f'PATH={folder}:$PATH\nk() {{ kubectl "$@"; }}\nset -e\n{line}\n'
    return str(subprocess.run(["sh"], input=script.encode(), check=False, capture_output=True).returncode)


@pytest.mark.parametrize(
    ("answer", "code", "expected"),
    [
        ("patched", 0, "0"),
        ("Error from server (NotFound): no such service", 1, "0"),
        ("The request is invalid: the server rejected our request due to an error in our request", 1, "0"),
        ("Unable to connect to the server: connection refused", 1, "1"),
        ("Error from server (Forbidden): no", 1, "1"),
    ],
)
def test_a_field_is_put_back_only_if_it_is_ours_and_tried_again_if_nobody_answers(
    tmp_path: Path, answer: str, code: int, expected: str
) -> None:
    assert _kubectl(tmp_path, answer, code) == expected
    call = (tmp_path / "calls").read_text()
    patch = json.loads(call[call.index("-p ") + 3 :])
    assert patch[:2] == [
        {"op": "test", "path": "/metadata/uid", "value": "uid-1"},
        {"op": "test", "path": "/spec/x", "value": 2},
    ]


def test_a_paused_container_is_thawed_by_id() -> None:
    box = Box("p", "node", "abc123", 7, "99", {"freezer": "/sys/fs/cgroup/freezer/x"})
    aim = Aim((Target("Pod", "n", "p", "u", "node"),), "freezer", {"boxes": [box]}, id="1a2b")
    (undo,) = Pause(target=SHOP).undo(SimpleNamespace(), aim)  # type: ignore[arg-type]
    assert undo.where == "node"
    assert "ctr -n k8s.io task resume abc123" in undo.script


def test_every_fault_names_a_limit() -> None:
    from harness.faults import catalogue

    kinds = catalogue()
    assert len(kinds) >= 24
    for name, kind in kinds.items():
        assert issubclass(kind, Fault)
        assert kind.limit_s > 0, name
        assert (kind.__doc__ or "").count("Proof:") == 1 or kind.__mro__[1] is not Fault, (
            f"{name} does not say its proof"
        )


class FakeLeases:
    """The Lease of a cluster."""

    def __init__(self) -> None:
        self.live: dict[str, Any] | None = None

    def get(self, *_: Any) -> dict[str, Any] | None:
        return self.live

    def resource(self, *_: Any) -> FakeLeases:
        return self

    def create(self, *, body: dict[str, Any], namespace: str) -> None:
        self.live = {**body, "metadata": {**body["metadata"], "uid": "u"}}

    def replace(self, *, body: dict[str, Any], name: str, namespace: str) -> None:
        self.live = body

    def delete(self, *_: Any, **__: Any) -> bool:
        self.live = None
        return True


class StillClock:
    """A clock that is moved by hand."""

    t = 1.7e9

    def monotonic(self) -> float:
        return self.t

    def wall(self) -> float:
        return self.t

    def sleep(self, seconds: float) -> None:
        self.t += seconds


def test_the_lease_of_a_run_that_was_killed_on_this_machine_is_taken_over_at_once() -> None:
    kube, clock = FakeLeases(), StillClock()
    with run_lease(kube, "killed", clock=clock):  # type: ignore[arg-type]
        assert kube.live is not None
        left = kube.live
    process = left["metadata"]["annotations"][PROCESS]
    kube.live = {**left, "metadata": {"uid": "u", "annotations": {PROCESS: process.rpartition("@")[0] + "@1"}}}
    with run_lease(kube, "next", clock=clock):  # type: ignore[arg-type]
        assert kube.live["spec"]["holderIdentity"] == "next"
    # The same pid on another machine says nothing.
    kube.live = {**left, "metadata": {"uid": "u", "annotations": {PROCESS: "elsewhere pid:[1] 7@1"}}}
    with pytest.raises(RunLeaseHeld, match="killed"), run_lease(kube, "next", clock=clock):  # type: ignore[arg-type]
        pass


def test_a_second_run_is_refused_naming_the_first_and_an_expired_one_is_taken_over() -> None:
    kube, clock = FakeLeases(), StillClock()
    with run_lease(kube, "run-1 by ann", clock=clock):  # type: ignore[arg-type]
        with pytest.raises(RunLeaseHeld, match="run-1 by ann"), run_lease(kube, "run-2", clock=clock):  # type: ignore[arg-type]
            pass
        with run_lease(kube, "run-1 by ann", clock=clock):  # type: ignore[arg-type]
            pass
        kube.create(
            body={"metadata": {}, "spec": {"holderIdentity": "run-1 by ann", "renewTime": "2023-11-14T22:13:20.0Z"}},
            namespace="",
        )
        clock.t += DURATION_S + 1
        with run_lease(kube, "run-3", clock=clock):  # type: ignore[arg-type]
            assert kube.live is not None
            assert kube.live["spec"]["holderIdentity"] == "run-3"
    assert kube.live is None
    assert issubclass(RunLeaseHeld, HarnessError)
