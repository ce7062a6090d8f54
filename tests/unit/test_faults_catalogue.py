"""The catalogue: every fault is complete, refuses what cannot be, and its scripts undo by identity and nothing else."""

from __future__ import annotations

import inspect
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness._errors import TargetError, UsageError
from harness._run import Completed
from harness.cli import faults as cli
from harness.clusters.base import Cluster
from harness.env import Env
from harness.faults import Aim, Fault, FaultContext, Workload, _netns, _units, catalogue, network_deny_all
from harness.faults._scaled import Scaled
from harness.faults._sweep import LABELLED
from harness.targets import Allowed, Target

KINDS = catalogue()
NODE = Target("Node", "", "w1", "uid-w1")
CART, FRONT = Workload("shop", "cart"), Workload("shop", "front")


def sample(kind: type[Fault], **more: Any) -> Fault:
    """A fault with plausible values for what it requires."""
    import dataclasses

    from harness.faults import Object

    by_type: dict[str, Any] = {"Workload": CART, "str": "w1", "Object": Object("Service", "shop", "cart"), "Any": 7}
    values = {
        f.name: by_type.get(str(f.type).split(" | ")[0])
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    return kind(**{**values, **more})


@dataclass
class FakeNode:
    """Answers commands by a function, and remembers them."""

    name: str
    role: str = "worker"
    answer: Callable[[str], str | None] = lambda _: ""
    seen: list[str] = field(default_factory=list)

    def run(
        self, args: Sequence[str], *, timeout_s: float = 15, stdin: str | bytes | None = None, check: bool = True
    ) -> Completed:
        text = " ".join(args) + "\n" + (stdin if isinstance(stdin, str) else "")
        self.seen.append(text)
        out = self.answer(text)
        return Completed(tuple(args), 1 if out is None else 0, out or "", "", 0.0)


def context(tmp_path: Path, *nodes: FakeNode, kube: Any = None) -> FaultContext:
    cluster = Cluster("kind", tmp_path / "kubeconfig", tuple(nodes))  # type: ignore[arg-type]
    return FaultContext(
        env=Env("unit"), kube=kube, cluster=cluster, allowed=Allowed(frozenset({"shop"}), frozenset({"w1"}))
    )


def test_there_are_at_least_24_faults_in_all_five_categories() -> None:
    assert len(KINDS) >= 24
    assert {n.split(".")[0] for n in KINDS} == {"pod", "network", "node", "gitops", "platform"}


@pytest.mark.parametrize("name", KINDS)
def test_a_fault_is_documented_with_its_proof_and_can_be_described(name: str) -> None:
    text = cli.describe_markdown(KINDS[name])
    bases = " ".join(k.__doc__ or "" for k in KINDS[name].__mro__[:-1])
    assert "Proof:" in bases or "proof" in bases
    assert "| `max_s` |" in text
    assert len(cli.first_sentence(KINDS[name])) > 10


@pytest.mark.parametrize("name", [n for n, k in KINDS.items() if not k.one_shot])
def test_a_fault_that_lasts_has_an_undo_of_its_own(name: str) -> None:
    assert KINDS[name].undo is not Fault.undo


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("bad", [0, -1, 1e9])
def test_a_duration_that_cannot_be_is_refused(name: str, bad: float) -> None:
    with pytest.raises(UsageError, match="max_s"):
        sample(KINDS[name], max_s=bad)


@pytest.mark.parametrize(
    ("name", "field_", "bad"),
    [
        ("network.loss", "loss_pct", 140),
        ("network.loss", "loss_pct", 0),
        ("network.loss", "loss_pct", -3),
        ("network.bandwidth", "rate_kbit", 0),
        ("network.partition", "direction", "sideways"),
        ("network.partition", "port", 70000),
        ("node.cpu-pressure", "workers", 0),
        ("node.memory-pressure", "size_mb", -1),
        ("node.disk-fill", "size_mb", 0),
        ("node.kubelet-stop", "node", "w1; rm -rf /"),
        ("pod.kill", "mode", "gently"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_before_anything_happens(name: str, field_: str, bad: Any) -> None:
    with pytest.raises(UsageError, match=field_):
        sample(KINDS[name], **{field_: bad})


@pytest.mark.parametrize("name", ["node.power-off", "node.reboot", "node.drain", "node.isolation"])
def test_the_control_plane_is_not_a_worker(name: str, tmp_path: Path) -> None:
    ctx = context(tmp_path, FakeNode("w1", role="control-plane"), FakeNode("w2"))
    with pytest.raises(TargetError, match="control plane"):
        sample(KINDS[name]).resolve(ctx)


def test_an_unknown_node_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="w1"):
        sample(KINDS["node.kubelet-stop"]).resolve(context(tmp_path, FakeNode("other")))


def test_a_stopped_kubelet_is_seen_only_against_a_control_that_answers(tmp_path: Path) -> None:
    fault, aim = sample(KINDS["node.kubelet-stop"]), Aim((NODE,), "")
    silent, well = FakeNode("w1", answer=lambda _: None), FakeNode("w2")
    assert fault.observe(context(tmp_path, silent, well), aim).active
    assert not fault.observe(context(tmp_path, FakeNode("w1"), well), aim).active
    # Nobody answers: it is the network or the probe, not this node's kubelet.
    both = FakeNode("w2", answer=lambda _: None)
    assert not fault.observe(context(tmp_path, silent, both), aim).active


def edge() -> dict[str, Any]:
    end = {"pod": "cart-1", "node": "w1", "netns": "cni-1", "ip": "10.0.0.9"}
    source = {"pod": "front-1", "node": "w1", "netns": "cni-2", "ip": "10.0.0.7"}
    control = {"pod": "ad-1", "ip": "10.0.0.8", "port": 9555}
    return {"source": source, "ends": [end], "peers": ["10.0.0.7"], "port": 7070, "control": control}


def answering(target: str, control: str = "ok 3\nok 3\n") -> Callable[[str], str]:
    return lambda text: target if "10.0.0.9" in text.splitlines()[0] else control


@pytest.mark.parametrize(
    ("name", "target", "control", "active"),
    [
        ("network.partition", "no 700\nno 700\n", "ok 3\nok 3\n", True),
        ("network.partition", "ok 2\nno 700\n", "ok 3\nok 3\n", False),
        ("network.partition", "no 700\nno 700\n", "no 700\nok 3\n", False),
        ("network.deny-all", "no 700\nno 700\n", "ok 3\nok 3\n", True),
        ("network.deny-all", "ok 4\nok 4\n", "ok 3\nok 3\n", False),
        ("network.reset", "no 5\nno 6\n", "ok 3\nok 3\n", True),
        ("network.reset", "no 2000\nno 2000\n", "ok 3\nok 3\n", False),
        ("network.loss", "ok 2\n" * 42 + "no 800\n" * 18, "ok 3\nok 3\n", True),
        ("network.loss", "ok 2\n" * 60, "ok 3\nok 3\n", False),
        ("network.loss", "ok 2\n" * 5 + "no 800\n" * 55, "ok 3\nok 3\n", False),
        ("network.loss", "ok 2\n" * 42 + "no 800\n" * 18, "no 800\nok 3\n", False),
    ],
)
def test_the_network_proofs_measure_the_effect(
    name: str, target: str, control: str, active: bool, tmp_path: Path
) -> None:
    node = FakeNode("w1", answer=answering(target, control))
    fault = KINDS[name](target=CART, source=FRONT)  # type: ignore[call-arg]
    assert fault.observe(context(tmp_path, node), Aim((NODE,), "", edge(), "abcd1234")).active is active


@pytest.mark.parametrize("name", ["network.partition", "network.reset", "network.deny-all", "network.loss"])
def test_the_silence_of_a_pod_that_is_no_more_proves_nothing(name: str, tmp_path: Path) -> None:
    def answer(text: str) -> str:
        return "gone cni-1\n" if "/run/netns/cni-1" in text else answering("no 2\n" * 20)(text)

    more = {"loss_pct": 95.0} if name == "network.loss" else {}
    fault, aim = sample(KINDS[name], **more), Aim((), "", edge())
    assert fault.observe(context(tmp_path, FakeNode("w1", answer=answering("no 2\n" * 20, "ok 3\n" * 20))), aim).active
    assert not fault.observe(context(tmp_path, FakeNode("w1", answer=answer)), aim).active


def test_a_probe_without_a_result_is_an_error_and_not_an_outage() -> None:
    with pytest.raises(TargetError, match="no result"):
        _netns.parse_connects("")


def test_connects_are_counted() -> None:
    found = _netns.parse_connects("ok 3\nno 701\nok 9\nok 5\n")
    assert (found.tried, found.good, found.lost, found.median_ms) == (4, 3, 0.25, 5)


def test_removing_rules_removes_ours_and_nobody_elses(tmp_path: Path) -> None:
    """The script is run for real against a stand-in for iptables that keeps its rules in a file."""
    rules = tmp_path / "rules"
    rules.write_text(
        "-P INPUT ACCEPT\n-A INPUT -s 10.0.0.7/32 -m comment --comment rh-abcd1234 -j DROP\n"
        "-A INPUT -s 10.0.0.8/32 -m comment --comment rh-ffff0000 -j DROP\n"
        "-A OUTPUT -d 10.0.0.7/32 -m comment --comment rh-abcd1234 -j DROP\n"
    )
    tool = tmp_path / "iptables"
    tool.write_text(
        "#!/bin/bash\nshift 2; shift; t=$1; shift\n"
        f'[ "$t" = filter ] || exit 0\nif [ "$1" = -S ]; then cat {rules}; exit; fi\n'
        f'w="-A ${{*:2}}"; grep -qxF -- "$w" {rules} || exit 1; grep -vxF -- "$w" {rules} > {rules}.n; mv {rules}.n {rules}\n'
    )
    save = tmp_path / "iptables-save"
    save.write_text(f"#!/bin/sh\ncat {rules}\n")
    for program in (tool, save):
        program.chmod(0o755)
    script = _netns.remove_rules_script("", "rh-abcd1234")
    for _ in range(2):  # as often as one likes
        done = subprocess.run(["sh"], input=script, text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
        assert done.returncode == 0
    assert rules.read_text() == "-P INPUT ACCEPT\n-A INPUT -s 10.0.0.8/32 -m comment --comment rh-ffff0000 -j DROP\n"


def test_a_network_namespace_that_is_gone_needs_no_undo() -> None:
    script = _netns.remove_rules_script("cni-that-is-not-there", "rh-abcd1234")
    assert subprocess.run(["sh"], input=script, text=True, check=False).returncode == 0


class FakeKube:
    """One workload and its pods."""

    def __init__(self, replicas: int, pods: list[dict[str, Any]]) -> None:
        self.replicas, self.pods = replicas, pods

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str | None = None) -> dict[str, Any]:
        return {"metadata": {"name": name, "uid": "u1"}, "spec": {"replicas": self.replicas}}

    def list(self, kind: str, namespace: str | None = None, **_: Any) -> list[dict[str, Any]]:
        return self.pods


def pod(ready: bool) -> dict[str, Any]:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {"metadata": {"name": "p", "namespace": "shop", "uid": "p1"}, "spec": {}, "status": status}


@dataclass(frozen=True, kw_only=True)
class Down(Scaled):
    """Proof: as its base."""


def test_a_component_is_down_only_when_no_pod_is_ready(tmp_path: Path) -> None:
    fault, aim = Down(target=CART), Aim((), "", {"replicas": 1})
    assert fault.observe(context(tmp_path, kube=FakeKube(0, [])), aim).active
    assert fault.observe(context(tmp_path, kube=FakeKube(0, [pod(False)])), aim).active
    assert not fault.observe(context(tmp_path, kube=FakeKube(1, [pod(True)])), aim).active


def test_a_component_that_is_scaled_to_zero_already_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="already"):
        Down(target=CART).resolve(context(tmp_path, kube=FakeKube(0, [])))


def test_a_component_outside_the_allow_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="allow-list"):
        Down(target=Workload("bank", "vault")).resolve(context(tmp_path, kube=FakeKube(1, [])))


def test_load_units_carry_the_faults_id() -> None:
    aim = Aim((NODE,), "", id="abcd1234")
    assert _units.unit(aim) == "rh-abcd1234-load.service"
    assert "rh-abcd1234-load.service" in _units.undo("w1", aim).script


def test_the_sweep_looks_for_the_policy_that_deny_all_makes_and_we_ask_for_the_rights() -> None:
    assert (network_deny_all.KIND, network_deny_all.VERSION) in LABELLED
    (asked,) = network_deny_all.DenyAll.api
    assert asked.endswith(network_deny_all.RESOURCE)


# --- the command line


def test_list_names_every_fault() -> None:
    shown = CliRunner().invoke(cli.command, ["list"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert all(name in shown.output for name in KINDS)


def test_an_unknown_fault_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        cli.find("network.partitoin")
    assert "network.partition" in caught.value.fix


@pytest.mark.parametrize("text", ["0", "0s", "-5s", "soon", "", "5h"])
def test_a_hold_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        cli.seconds(text)


@pytest.mark.parametrize(("text", "wanted"), [("30", 30), ("30s", 30), ("1.5m", 90)])
def test_durations_are_read(text: str, wanted: float) -> None:
    assert cli.seconds(text) == wanted


def test_a_hold_longer_than_the_fault_may_last_is_refused_not_cut_short() -> None:
    args = ["run", "network.partition", "--set", "target=a/b", "--set", "source=a/c", "--for", "20m"]
    done = CliRunner().invoke(cli.command, args)
    assert isinstance(done.exception, UsageError)
    assert "max_s=1200" in done.exception.fix


def test_fields_are_read_as_their_types() -> None:
    fault = cli.make(KINDS["network.loss"], ("target=shop/cart", "source=shop/db:StatefulSet", "loss_pct=25"))
    assert fault.spec()["loss_pct"] == 25.0
    assert fault.spec()["source"]["kind"] == "StatefulSet"


@pytest.mark.parametrize(
    "settings", [("target=shop/cart",), ("colour=red",), ("target=shop/cart", "source=shop/f", "loss_pct=many")]
)
def test_fields_that_are_missing_unknown_or_unreadable_are_refused(settings: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        cli.make(KINDS["network.loss"], settings)


def test_the_reference_page_is_the_one_that_the_code_gives() -> None:
    page = Path(inspect.getfile(cli)).parents[2] / "docs" / "reference" / "faults.md"
    assert page.read_text() == cli.reference_markdown(), "harness faults reference > docs/reference/faults.md"
