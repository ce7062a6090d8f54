"""netem where the kernel has it: the choice, the commands, and the undo by identity, on the command seam."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from harness._run import Completed
from harness.clusters.base import Node
from harness.faults import _netns, _qdisc
from harness.faults._model import Aim, FaultContext, Workload
from harness.faults.network_latency import Latency

END = {"pod": "cart-1", "node": "worker", "netns": "cni-1", "ip": "10.0.0.9"}
FAULT = Latency(target=Workload("shop", "cart"), source=Workload("shop", "frontend"), delay_ms=100, jitter_ms=20)


class Kernel:
    """A node whose kernel has netem, NFQUEUE, both or neither; keeps what it was told."""

    name, role = "worker", "worker"

    def __init__(self, *has: str) -> None:
        self.has, self.scripts = has, list[str]()

    def run(self, args: list[str], *, stdin: str | None = None, check: bool = True, **_: Any) -> Completed:
        text = stdin or args[-1]
        self.scripts.append(text)
        able = "netem" in self.has if "netem" in text else "NFQUEUE" in self.has
        return Completed(tuple(args), 0 if able else 2, "", "", 0.0)


class Context:
    """As much of a context as resolving takes."""

    def __init__(self, node: Kernel) -> None:
        self._node = node

    def node(self, name: str) -> Node:
        return cast(Node, self._node)


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"ends": [END], "peers": ["10.0.0.7", "10.0.0.8"], "source": END, "control": None, "port": 1}
    monkeypatch.setattr(_netns, "between", lambda *_: dict(facts))
    monkeypatch.setattr(_netns, "hit_targets", lambda *_: ())
    monkeypatch.setattr(Latency, "_median", lambda *_: 1.0)


def aim_on(kernel: Kernel) -> tuple[Aim, FaultContext]:
    ctx = cast(FaultContext, Context(kernel))
    return replace(FAULT.resolve(ctx), id="3d29c9b0"), ctx


@pytest.mark.usefixtures("resolved")
@pytest.mark.parametrize(
    ("has", "mechanism"),
    [(("netem", "NFQUEUE"), "netem"), (("netem",), "netem"), (("NFQUEUE",), "NFQUEUE")],
)
def test_the_mechanism_is_what_the_kernel_has(has: tuple[str, ...], mechanism: str) -> None:
    aim, _ = aim_on(Kernel(*has))
    assert aim.mechanism.startswith(mechanism)


@pytest.mark.usefixtures("resolved")
def test_a_kernel_with_neither_is_refused_before_anything() -> None:
    with pytest.raises(Exception, match="netem or NFQUEUE") as refused:
        aim_on(Kernel())
    assert type(refused.value).__name__ == "MachineNotReady"


@pytest.mark.usefixtures("resolved")
def test_netem_holds_back_what_goes_to_the_peers_only() -> None:
    kernel = Kernel("netem")
    aim, ctx = aim_on(kernel)
    FAULT.inject(ctx, aim)
    lines = kernel.scripts[-1].splitlines()
    assert lines[0] == "set -e"
    assert "root handle 3d29: prio bands 4" in lines[1]
    assert lines[2].endswith("parent 3d29:4 netem delay 100ms 20ms")
    assert [line.split("match ip dst ")[1] for line in lines[3:]] == [
        "10.0.0.7/32 flowid 3d29:4",
        "10.0.0.8/32 flowid 3d29:4",
    ]


@pytest.mark.usefixtures("resolved")
def test_the_undo_removes_our_discipline_and_no_other() -> None:
    aim, ctx = aim_on(Kernel("netem"))
    (undo,) = FAULT.undo(ctx, aim)
    assert undo.where == "worker"
    assert "grep -q 'prio 3d29:' || exit 0" in undo.script
    assert "qdisc del dev eth0 root handle 3d29:" in undo.script


@pytest.mark.parametrize("fault_id", ["ffff0000", "00000000", "fffe1234"])
def test_a_handle_is_never_one_of_the_kernels_own(fault_id: str) -> None:
    assert _qdisc.handle(Aim((), "", {}, id=fault_id)) not in {"0", "ffff"}


def test_handles_of_two_faults_differ() -> None:
    aims = [Aim((), "", {}, id=i) for i in ("3d29c9b0", "aaaa0000")]
    assert len({_qdisc.handle(a) for a in aims}) == 2
