"""Queueing disciplines on a pod's interface: recognised, and removed, by a handle that comes from the fault's id.

Where the kernel has netem, packets are held back by it; for one peer only, by a priority discipline whose fourth band
has netem and gets what a filter sends there. Source: tc-prio(8), tc-netem(8), tc-u32(8).
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.clusters.base import Node
from harness.faults._model import Aim

DEVICE = "eth0"
# In a network namespace of its own that ends with the command.
_HAS_NETEM = "ip link set lo up && tc qdisc add dev lo root netem delay 1ms"
_USUAL_BANDS = "1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1"  # as without us: the fourth band is for the filter alone


def has_netem(node: Node) -> bool:
    """Whether the node's kernel has netem, seen by making one."""
    return node.run(["unshare", "-n", "sh", "-c", _HAS_NETEM], check=False).ok


def handle(aim: Aim) -> str:
    """A handle that is ours, from the fault's id; never 0 or ffff, which are the kernel's."""
    return f"{(int(aim.id[:4] or '1', 16) & 0x7FFF) | 1:x}"


def add_netem_script(netns: str, own: str, peers: Sequence[str], *, delay_ms: float, jitter_ms: float) -> str:
    """Hold back what the pod sends to `peers`."""
    tc = f"ip netns exec {netns} tc"
    jitter = f" {jitter_ms:g}ms" if jitter_ms else ""
    lines = [
        f"{tc} qdisc add dev {DEVICE} root handle {own}: prio bands 4 priomap {_USUAL_BANDS}",
        f"{tc} qdisc add dev {DEVICE} parent {own}:4 netem delay {delay_ms:g}ms{jitter}",
        *(
            f"{tc} filter add dev {DEVICE} parent {own}: protocol ip prio 1 u32 match ip dst {ip}/32 flowid {own}:4"
            for ip in peers
        ),
    ]
    return "set -e\n" + "\n".join(lines) + "\n"


def undo_script(netns: str, kind: str, own: str) -> str:
    """Remove the root discipline of that kind and handle, if it is still there."""
    inside = f"ip netns exec {netns} tc qdisc"
    return (
        f"[ -e /run/netns/{netns} ] || exit 0\n"
        f"{inside} show dev {DEVICE} | grep -q '{kind} {own}:' || exit 0\n"
        f"{inside} del dev {DEVICE} root handle {own}:\n"
    )
