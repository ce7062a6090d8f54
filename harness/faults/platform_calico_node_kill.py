"""A node's calico-node pod is killed: existing routes and policies should go on to work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Workload, register
from harness.faults.pod_kill import PodKill

TARGET = Workload(
    "kube-system",
    "calico-node",
    "DaemonSet",
    "k8s-app=calico-node",
)


@register
@dataclass(frozen=True, kw_only=True)
class CalicoNodeKill(PodKill):
    """Kill a calico-node pod; see pod.kill for the proof.

    Args:
        target: the workload.
    """

    name: ClassVar[str] = "platform.calico-node-kill"

    target: Workload = TARGET
