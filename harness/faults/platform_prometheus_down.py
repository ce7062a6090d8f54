"""Prometheus is down: no alert can fire, and its silence must not be taken for health."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Workload, register
from harness.faults._scaled import Scaled

TARGET = Workload(
    "monitoring",
    "prometheus",
    "Deployment",
    "app=prometheus",
)


@register
@dataclass(frozen=True, kw_only=True)
class PrometheusDown(Scaled):
    """Scale Prometheus to zero. Proof: no pod of it is ready.

    Args:
        target: the workload.
    """

    name: ClassVar[str] = "platform.prometheus-down"

    target: Workload = TARGET
