"""The Git server does not answer: nothing new can be deployed, what runs must run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import register
from harness.faults._servers import ServerFrozen


@register
@dataclass(frozen=True, kw_only=True)
class GitServerDown(ServerFrozen):
    """Freeze the git server. Proof: it gives a node no answer; control: another server beside the cluster does.

    The allow-list must hold `platform-server`.
    """

    name: ClassVar[str] = "gitops.git-server-down"
    role: ClassVar[str] = "git"
    fact: ClassVar[str] = "git_url"
    control_fact: ClassVar[str] = "registry_url"
