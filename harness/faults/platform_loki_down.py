"""Loki is down: logs are not kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Workload, register
from harness.faults._scaled import Scaled

TARGET = Workload(
    "monitoring",
    "loki",
    "Deployment",
    "app=loki",
)


@register
@dataclass(frozen=True, kw_only=True)
class LokiDown(Scaled):
    """Scale Loki to zero. Proof: no pod of it is ready.

    Args:
        target: the workload.
    """

    name: ClassVar[str] = "platform.loki-down"

    target: Workload = TARGET
