"""The kubelet of a node stops; its pods go on, unwatched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import register
from harness.faults._services import ServiceStop


@register
@dataclass(frozen=True, kw_only=True)
class KubeletStop(ServiceStop):
    """Stop the kubelet. After a grace period the node is NotReady and its pods are evicted.

    Proof: the kubelet's health port does not answer on the node. Control: another node's does.

    Args:
        node: the node's name.
    """

    name: ClassVar[str] = "node.kubelet-stop"
    service: ClassVar[str] = "kubelet"
    ask: ClassVar[str] = "curl -sS -m 1 -o /dev/null http://127.0.0.1:10248/healthz"
    undo_script: ClassVar[str] = "systemctl start kubelet.service && systemctl -q is-active kubelet.service\n"
