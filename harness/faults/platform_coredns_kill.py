"""A pod of CoreDNS is killed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Workload, register
from harness.faults.pod_kill import PodKill

TARGET = Workload(
    "kube-system",
    "coredns",
    "Deployment",
    "k8s-app=kube-dns",
)


@register
@dataclass(frozen=True, kw_only=True)
class CoreDnsKill(PodKill):
    """Kill a pod of the cluster's DNS; see pod.kill for the proof.

    Args:
        target: the workload.
    """

    name: ClassVar[str] = "platform.coredns-kill"

    target: Workload = TARGET
