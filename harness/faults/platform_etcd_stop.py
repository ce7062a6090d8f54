"""etcd stops: the API answers nothing of use, and what runs must run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import register
from harness.faults._static_pods import StaticPodStop


@register
@dataclass(frozen=True, kw_only=True)
class EtcdStop(StaticPodStop):
    """Stop etcd on the control-plane node. Proof: its port does not answer there; control: the kubelet's does."""

    name: ClassVar[str] = "platform.etcd-stop"
    needs: ClassVar[tuple[str, ...]] = ("node", "ssh")
    component: ClassVar[str] = "etcd"
    program: ClassVar[str] = "etcd"
    health: ClassVar[str] = "http://127.0.0.1:2381/health"
