"""The inventory: the machines of the provider `kubeadm`, how they are logged in to, and what switches their power."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from harness._errors import UsageError
from harness.clusters._power import PowerConfig
from harness.config import File, Table

CONTROL_PLANES = (1, 3)  # etcd needs an odd number to agree; five are never needed for a test
NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class Login(Table):
    """How machines are logged in to.

    Args:
        user: the account.
        key: its private key, without a passphrase, or one that the SSH agent holds.
        known_hosts: file with the machines' host keys: a machine that is not in it is refused.
        port: of the SSH server.
        become: whether the account becomes root by `sudo -n`.
    """

    user: str = "root"
    key: File = Field(default=Path("~/.ssh/id_ed25519"), validate_default=True)
    known_hosts: File = Field(default=Path("~/.ssh/known_hosts"), validate_default=True)
    port: int = Field(default=22, ge=1, le=65535)
    become: bool = False


class Machine(Table):
    """`[[machines]]`: one machine.

    Args:
        name: what the Kubernetes node is called.
        host: its address or DNS name.
        role: `control-plane` or `worker`.
        address: the address that the cluster uses, when it is not the one that `host` leads to.
        login: overrides of the common login, key by key.
        power: what switches it; faults that need power are skipped without.
    """

    name: NodeName
    host: str = Field(min_length=1)
    role: Literal["control-plane", "worker"]
    address: str = ""
    login: Login
    power: PowerConfig | None = None


class Inventory(Table):
    """The whole file, with the common login put into each machine.

    Args:
        machines: the machines.
        endpoint: `host:port` of what stands before three control planes: a virtual address or a load balancer.
    """

    endpoint: Annotated[str, StringConstraints(pattern=r"^([^:/]+:[0-9]{1,5})?$")] = ""
    machines: tuple[Machine, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for what in ("name", "host"):
            twice = [v for v, n in Counter(getattr(m, what) for m in self.machines).items() if n > 1]
            if twice:
                raise ValueError(f"two machines have the {what} {twice[0]}")
        planes = sum(m.role == "control-plane" for m in self.machines)
        if planes not in CONTROL_PLANES:
            raise ValueError(f"{planes} machines have the role control-plane; 1 or 3 are possible")
        if planes == len(self.machines):
            raise ValueError("no machine has the role worker")
        if planes > 1 and not self.endpoint:
            raise ValueError("three control planes need `endpoint`, the address of a load balancer before them")
        return self

    @property
    def control_planes(self) -> tuple[Machine, ...]:
        """The machines of the control plane, as the file orders them; the first one starts the cluster."""
        return tuple(m for m in self.machines if m.role == "control-plane")

    @property
    def workers(self) -> tuple[Machine, ...]:
        """The other machines."""
        return tuple(m for m in self.machines if m.role == "worker")


def read_inventory(file: Path) -> Inventory:
    """Read an inventory.

    Raises:
        UsageError: no such file, no TOML, or what is wrong in it, with the machine and the key.
    """
    if not file.is_file():
        raise UsageError(
            "no such inventory",
            where=str(file),
            fix="write one (docs/how-to/install-on-machines.md), or `harness machines up` for containers to try it on",
        )
    try:
        data = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError("the inventory is not TOML", where=str(file), last=err) from err
    common = {key: data.pop(key) for key in Login.model_fields if key in data}
    for machine in data.get("machines", ()) if isinstance(data.get("machines"), list) else ():
        if isinstance(machine, dict):
            own = {key: machine.pop(key) for key in Login.model_fields if key in machine}
            machine["login"] = {**common, **own}
    try:
        return Inventory.model_validate(data, context={"folder": file.parent})
    except ValidationError as err:
        raise _refused(err, file, data) from err


def _refused(err: ValidationError, file: Path, data: dict[str, object]) -> UsageError:
    first = err.errors(include_url=False, include_input=True, include_context=False)[0]
    place = [str(part) for part in first["loc"] if part != "login"]
    machines = data.get("machines")
    if len(place) > 1 and isinstance(machines, list) and isinstance(machines[int(place[1])], dict):
        place[:2] = [f"machine {machines[int(place[1])].get('name') or int(place[1]) + 1}"]
    shown = ": ".join((" ".join(place[:1]), ".".join(place[1:]))) if len(place) > 1 else "".join(place)
    if first["type"] == "value_error" and not place:
        return UsageError(f"the inventory does not fit: {first['msg'].removeprefix('Value error, ')}", where=str(file))
    if first["type"] == "extra_forbidden":
        return UsageError(f"unknown key {shown!r}", where=str(file), fix="docs/how-to/install-on-machines.md")
    if first["type"] == "missing":
        return UsageError(f"{shown} is missing", where=str(file))
    return UsageError(f"{shown} cannot be {first['input']!r}", where=str(file), fix=first["msg"])
