"""Argo CD's repo-server is down: nothing new can be rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Workload, register
from harness.faults._scaled import Scaled

TARGET = Workload(
    "argocd",
    "argocd-repo-server",
    "Deployment",
    "app.kubernetes.io/name=argocd-repo-server",
)


@register
@dataclass(frozen=True, kw_only=True)
class RepoServerDown(Scaled):
    """Scale Argo CD's repo-server to zero. Proof: no pod of it is ready.

    Args:
        target: the workload.
    """

    name: ClassVar[str] = "gitops.repo-server-down"

    target: Workload = TARGET
