"""The container runtime of a node stops: containers run on, but none can be started, stopped or asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import register
from harness.faults._services import ServiceStop


@register
@dataclass(frozen=True, kw_only=True)
class RuntimeStop(ServiceStop):
    """Stop containerd.

    Proof: the runtime's socket does not answer on the node. Control: another node's does.

    Args:
        node: the node's name.
    """

    name: ClassVar[str] = "node.runtime-stop"
    service: ClassVar[str] = "containerd"
    ask: ClassVar[str] = "timeout 2 ctr --connect-timeout 1s version >/dev/null 2>&1"
    # The kubelet may have gone with it.
    undo_script: ClassVar[str] = (
        "systemctl start containerd.service kubelet.service && timeout 5 ctr version >/dev/null\n"
    )
