"""The Ingress controller's pod is killed: users have no way in until it is back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Workload, register
from harness.faults.pod_kill import PodKill

TARGET = Workload(
    "ingress-nginx",
    "ingress-nginx-controller",
    "Deployment",
    "app.kubernetes.io/component=controller,app.kubernetes.io/name=ingress-nginx",
)


@register
@dataclass(frozen=True, kw_only=True)
class IngressKill(PodKill):
    """Kill a pod of the Ingress controller; see pod.kill for the proof.

    Args:
        target: the workload.
    """

    name: ClassVar[str] = "platform.ingress-kill"

    target: Workload = TARGET
