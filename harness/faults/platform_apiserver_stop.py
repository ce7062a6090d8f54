"""The API server stops: nothing can be changed, and what runs must run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import register
from harness.faults._static_pods import StaticPodStop


@register
@dataclass(frozen=True, kw_only=True)
class ApiServerStop(StaticPodStop):
    """Stop kube-apiserver on the control-plane node. Proof: its port does not answer there; control: the kubelet's does."""

    name: ClassVar[str] = "platform.apiserver-stop"
    needs: ClassVar[tuple[str, ...]] = ("node", "ssh")
    component: ClassVar[str] = "kube-apiserver"
    program: ClassVar[str] = "kube-apiserver"
    health: ClassVar[str] = "https://127.0.0.1:6443/livez"
