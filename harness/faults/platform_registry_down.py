"""The image registry does not answer: pods whose image is not on their node cannot start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import register
from harness.faults._servers import ServerFrozen


@register
@dataclass(frozen=True, kw_only=True)
class RegistryDown(ServerFrozen):
    """Freeze the registry server. Proof: it gives a node no answer; control: another server beside the cluster does.

    The allow-list must hold `platform-server`.
    """

    name: ClassVar[str] = "platform.registry-down"
    role: ClassVar[str] = "registry"
    fact: ClassVar[str] = "registry_url"
    control_fact: ClassVar[str] = "git_url"
