"""Alertmanager is down: alerts fire and nobody is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Workload, register
from harness.faults._scaled import Scaled

TARGET = Workload(
    "monitoring",
    "alertmanager",
    "Deployment",
    "app=alertmanager",
)


@register
@dataclass(frozen=True, kw_only=True)
class AlertmanagerDown(Scaled):
    """Scale Alertmanager to zero. Proof: no pod of it is ready.

    Args:
        target: the workload.
    """

    name: ClassVar[str] = "platform.alertmanager-down"

    target: Workload = TARGET
