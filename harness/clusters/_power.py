"""How a machine's power is switched, from this machine: a driver turns its settings into three command lines.

Command lines, not calls: the dead-man that switches a node on again when the runner has died is a shell script.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from harness._errors import TargetError
from harness._run import run
from harness.config import File, Table

SWITCH_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Power:
    """The command lines that cut the power, switch it on, and reset."""

    off: tuple[str, ...]
    on: tuple[str, ...]
    reset: tuple[str, ...]

    def switch(self, what: Literal["off", "on", "reset"], where: str) -> None:
        """Run one of them; raises `CommandFailed`."""
        run(getattr(self, what), timeout_s=SWITCH_TIMEOUT_S, where=f"power of {where}")


class PowerConfig(Table):
    """`[machines.power]`: what switches a machine.

    Args:
        driver: `libvirt` (virsh), `ipmi` (ipmitool), `redfish` (curl), `container` (docker), or `command`.
        target: the domain, the BMC's host, the URL of the Redfish system, or the container.
        uri: libvirt's connection.
        user: the BMC's account.
        password_file: the BMC's password; for `redfish` a netrc file, as curl reads it.
        off: with `command`: the command line that cuts the power.
        on: with `command`: the command line that switches it on.
        reset: with `command`: the command line that resets it.
    """

    driver: Literal["libvirt", "ipmi", "redfish", "container", "command"]
    target: str = ""
    uri: str = "qemu:///system"
    user: str = ""
    password_file: File | None = None
    off: str = ""
    on: str = ""
    reset: str = ""

    @model_validator(mode="after")
    def _complete(self) -> PowerConfig:
        wanted = {
            "command": ("off", "on", "reset"),
            "ipmi": ("target", "user", "password_file"),
            "redfish": ("target", "password_file"),
        }.get(self.driver, ("target",))
        missing = [name for name in wanted if not getattr(self, name)]
        if missing:
            raise ValueError(f"the driver {self.driver} also needs {', '.join(missing)}")
        return self

    def commands(self) -> Power:
        """The command lines."""
        return DRIVERS[self.driver](self)


def _libvirt(about: PowerConfig) -> Power:
    virsh = ("virsh", "-q", "-c", about.uri)
    # `destroy` is libvirt's word for pulling the plug; the domain stays defined.
    return Power((*virsh, "destroy", about.target), (*virsh, "start", about.target), (*virsh, "reset", about.target))


def _ipmi(about: PowerConfig) -> Power:
    tool = ("ipmitool", "-I", "lanplus", "-H", about.target, "-U", about.user, "-f", str(about.password_file))
    return Power(*((*tool, "chassis", "power", what) for what in ("off", "on", "reset")))


def _redfish(about: PowerConfig) -> Power:
    def reset(kind: str) -> tuple[str, ...]:
        url = f"{about.target.rstrip('/')}/Actions/ComputerSystem.Reset"
        body = f'{{"ResetType": "{kind}"}}'
        head = ("curl", "-fsS", "--netrc-file", str(about.password_file), "-H", "Content-Type: application/json")
        return (*head, "-d", body, url)

    return Power(reset("ForceOff"), reset("On"), reset("ForceRestart"))


def container_power(name: str) -> Power:
    """The power of a machine that is a container."""
    return Power(("docker", "kill", name), ("docker", "start", name), ("docker", "restart", "-t", "0", name))


def _container(about: PowerConfig) -> Power:
    return container_power(about.target)


def _command(about: PowerConfig) -> Power:
    return Power(*(tuple(shlex.split(line)) for line in (about.off, about.on, about.reset)))


DRIVERS: dict[str, Callable[[PowerConfig], Power]] = {
    "libvirt": _libvirt,
    "ipmi": _ipmi,
    "redfish": _redfish,
    "container": _container,
    "command": _command,
}


def need(power: Power | None, where: str) -> Power:
    """The power of a node; raises `TargetError` when it has none."""
    if power is None:
        raise TargetError("this node has no power switch", where=where, fix="[machines.power] in the inventory")
    return power
