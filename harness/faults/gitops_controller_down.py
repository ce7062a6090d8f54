"""Argo CD's application controller is down: nothing is synced or healed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Workload, register
from harness.faults._scaled import Scaled

TARGET = Workload(
    "argocd",
    "argocd-application-controller",
    "StatefulSet",
    "app.kubernetes.io/name=argocd-application-controller",
)


@register
@dataclass(frozen=True, kw_only=True)
class ControllerDown(Scaled):
    """Scale Argo CD's application controller to zero. Proof: no pod of it is ready.

    Args:
        target: the workload.
    """

    name: ClassVar[str] = "gitops.controller-down"

    target: Workload = TARGET
