"""The configuration: one `harness.toml`, in which every key is also a variable, and the common ones are flags.

A flag writes its variable (so that parallel workers and child processes see the same), a variable wins over the file,
the file wins over the default. A key `workers` of the table `[kind]` is the variable HARNESS_KIND_WORKERS.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from harness._errors import UsageError

FILE = "harness.toml"
PREFIX = "HARNESS"
Provider = Literal["kind", "kubeadm", "attached"]
ProfileName = Literal["fast", "reference", "stock"]
Source = Literal["auto", "pull", "build"]
PROVIDERS: tuple[str, ...] = get_args(Provider)


def _names(value: object) -> object:
    """A variable holds a list as `a,b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _from_folder(value: Path, info: ValidationInfo) -> Path:
    """A relative path is meant from the folder of `harness.toml`."""
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value.expanduser()


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
File = Annotated[Path, AfterValidator(_from_folder)]


class Table(BaseModel):
    """Base of all tables: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KindConfig(Table):
    """`[kind]`: the cluster of containers.

    Args:
        workers: how many workers.
        control_planes: only 1 here; three need a load balancer, which the provider `kubeadm` has.
    """

    workers: int = Field(default=2, ge=1, le=9)
    control_planes: int = Field(default=1, ge=1, le=1)


class KubeadmConfig(Table):
    """`[kubeadm]`: machines over SSH.

    Args:
        inventory: the file that lists the machines.
        server_address: this machine's address, as the cluster's machines reach it (Git, registry, receiver).
        vip_pool: the range that MetalLB may give out, `first-last`; its first address is the ingress. When it and
            `server_address` are empty, the machines are containers on the environment's own network.
        pod_subnet: the pods' network.
    """

    inventory: File = Field(default=Path("inventory.toml"), validate_default=True)
    server_address: str = ""
    vip_pool: str = ""
    pod_subnet: str = "10.244.0.0/16"


class Addresses(Table):
    """`[attached.addresses]`: URLs as this machine reaches them; what is empty is looked for in the cluster.

    Args:
        prometheus: its API.
        alertmanager: its API.
        loki: its API.
        ingress: where users come in, on loopback: `https://127.0.0.1:8443`.
        receiver: our receiver, to which Alertmanager sends a copy of every notification.
        git: the folder of the Git repositories, as this machine pushes to them.
        git_in_cluster: the same as Argo CD reads them; that of `git` when empty.
    """

    prometheus: str = ""
    alertmanager: str = ""
    loki: str = ""
    ingress: str = ""
    receiver: str = ""
    git: str = ""
    git_in_cluster: str = ""


class AttachedConfig(Table):
    """`[attached]`: a cluster that exists.

    Args:
        kubeconfig: file with the credentials.
        context: the context in it; its current one when empty.
        namespaces: namespaces that faults may touch; a name may end in `*`.
        nodes: nodes that faults may touch; none when empty.
        git_user: the account that pushes.
        git_password_file: a file of mode 0600 that holds its password or token.
        node_image: what the pods that enter nodes run; has `nsenter` and `sleep`.
        addresses: where things are.
    """

    kubeconfig: File = Field(default=Path("~/.kube/config"), validate_default=True)
    context: str = ""
    namespaces: Names = ("boutique-*",)
    nodes: Names = ()
    git_user: str = "harness"
    git_password_file: File | None = None
    node_image: str = "docker.io/library/busybox:1.36"
    addresses: Addresses = Addresses()


class Config(Table):
    """The whole file.

    Args:
        provider: where the cluster comes from.
        profile: the timing of detection.
        source: where images come from.
        env: the environment's name.
        users: shoppers a scenario.
        kind: the provider's own table.
        kubeadm: the provider's own table.
        attached: the provider's own table.
    """

    provider: Provider = "kind"
    profile: ProfileName = "fast"
    source: Source = "auto"
    env: str = "desk"
    users: int = Field(default=10, ge=1, le=200)
    kind: KindConfig = KindConfig()
    kubeadm: KubeadmConfig = KubeadmConfig()
    attached: AttachedConfig = AttachedConfig()


Key = tuple[str, ...]
# A table that is not in the file is validated all the same: its paths too are meant from the file's folder.
_EMPTY: Mapping[str, Any] = {"kind": {}, "kubeadm": {}, "attached": {}}


def keys(model: type[BaseModel] = Config, above: Key = ()) -> Iterator[Key]:
    """Every key, as the path to it."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind, (*above, name))
        else:
            yield (*above, name)


def variable(key: Key) -> str:
    """The variable of a key."""
    return "_".join((PREFIX, *key)).upper()


def find_file(variables: Mapping[str, str]) -> Path | None:
    """The file: what HARNESS_CONFIG names, otherwise the nearest `harness.toml` from here upwards."""
    named = variables.get(f"{PREFIX}_CONFIG")
    if named:
        if not Path(named).is_file():
            raise UsageError("no such configuration file", where=named, fix=f"HARNESS_CONFIG or a {FILE} here")
        return Path(named).absolute()
    here = Path.cwd()
    return next((f for f in (folder / FILE for folder in (here, *here.parents)) if f.is_file()), None)


def load(variables: Mapping[str, str] | None = None) -> Config:
    """Read the file and the variables.

    Raises:
        UsageError: no TOML, an unknown key or a bad value: names the file or variable, the key, and what is allowed.
    """
    given = os.environ if variables is None else variables
    file = find_file(given)
    values = {**_EMPTY, **(_read(file) if file else {})}
    set_by = {key: variable(key) for key in keys() if given.get(variable(key))}
    for key, name in set_by.items():
        _put(values, key, given[name])
    try:
        return Config.model_validate(values, context={"folder": file.parent if file else Path.cwd()})
    except ValidationError as err:
        raise _refused(err, file, set_by) from err


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UsageError("the configuration is not TOML", where=str(file), last=err) from err


def _put(values: dict[str, Any], key: Key, value: str) -> None:
    *tables, name = key
    for table in tables:
        if not isinstance(values.setdefault(table, {}), dict):
            return  # not a table: the validation will say so
        values[table] = dict(values[table])
        values = values[table]
    values[name] = value


def _refused(err: ValidationError, file: Path | None, set_by: Mapping[Key, str]) -> UsageError:
    """The first thing that is wrong, in words."""
    first = err.errors(include_url=False, include_input=True)[0]
    key: Key = tuple(str(part) for part in first["loc"])
    shown = ".".join(key)
    where = next((name for k, name in set_by.items() if key[: len(k)] == k), str(file))
    if first["type"] == "extra_forbidden":
        known = sorted({k[len(key) - 1] for k in keys() if k[: len(key) - 1] == key[:-1]})
        return UsageError(f"unknown key {shown!r}", where=where, fix=f"one of {', '.join(known)}")
    return UsageError(f"{shown} cannot be {first['input']!r}", where=where, fix=first["msg"])
