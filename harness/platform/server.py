"""The containers beside the cluster, on the environment's own network, published on loopback only.

They outlive the run, as a platform server does; `down` removes them.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness._errors import CommandFailed, MachineNotReady
from harness._run import run
from harness.env import LABEL, Env

if TYPE_CHECKING:
    from harness.bundle import Bundle

SUBNETS = ipaddress.ip_network("10.192.0.0/12")  # ours are the /24s in it; a taken one makes us try the next
HOST_NUMBER = {"registry": 130, "git": 131, "receiver": 132, "edge": 133}
VIP_NUMBERS = (200, 220)
GIT_USER = "harness"


@dataclass(frozen=True)
class Role:
    """One container of the platform server: its image in the bundle, and the port that is published."""

    name: str
    image: str
    port: int
    volume: str = ""  # where the named volume (or the mirror's storage) is mounted


ROLES = (
    Role("registry", "registry", 5000, "/var/lib/registry"),
    Role("git", "gitserver", 80, "/srv/git"),
    Role("receiver", "receiver", 8080),
    Role("edge", "edge", 443),
)


def ensure_network(env: Env) -> ipaddress.IPv4Network:
    """The environment's Docker network, made when missing, on a subnet that nothing else uses."""
    shown = run(
        ["docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", env.prefix],
        timeout_s=30,
        check=False,
    )
    if shown.ok:
        return ipaddress.IPv4Network(shown.out.strip())
    candidates = list(SUBNETS.subnets(new_prefix=24))
    first = int(hashlib.sha256(env.name.encode()).hexdigest(), 16) % len(candidates)
    last: object = None
    for offset in range(40):
        subnet = ipaddress.IPv4Network(candidates[(first + offset) % len(candidates)])
        # Docker gives addresses from the lower half; the upper half is for fixed and MetalLB addresses.
        lower = next(subnet.subnets(new_prefix=25))
        args = ["--subnet", str(subnet), "--ip-range", str(lower), "--label", f"{LABEL}={env.name}"]
        try:
            run(["docker", "network", "create", *args, env.prefix], timeout_s=30)
        except CommandFailed as err:
            if "overlap" not in str(err.last):
                raise
            last = err.last
            continue
        return subnet
    raise MachineNotReady(
        "no free subnet for the environment's network", last=last, fix="remove unused Docker networks"
    )


def address(subnet: ipaddress.IPv4Network, role: str) -> str:
    """The fixed address of a role on the environment's network."""
    return str(subnet[HOST_NUMBER[role]])


def vip(subnet: ipaddress.IPv4Network) -> str:
    """The address that MetalLB gives to the ingress."""
    return str(subnet[VIP_NUMBERS[0]])


def vip_pool(subnet: ipaddress.IPv4Network) -> str:
    """The range that MetalLB may give out."""
    return f"{subnet[VIP_NUMBERS[0]]}-{subnet[VIP_NUMBERS[1]]}"


def up(env: Env, bundle: Bundle, *, at: str = "", pool: str = "") -> dict[str, Any]:
    """Start what does not run.

    Args:
        env: the environment.
        bundle: where the images come from.
        at: an address of this machine at which other machines reach the servers; when empty, the cluster's nodes are
            containers on the environment's own network.
        pool: `first-last` of the addresses that MetalLB may give out; of that network when empty.

    Returns:
        The facts: addresses inside, ports on loopback, credentials.
    """
    subnet = ensure_network(env)
    password = env.load().get("git_password") or secrets.token_urlsafe(24)
    env.save(git_password=password, subnet=str(subnet))
    pool = pool or vip_pool(subnet)
    facts: dict[str, Any] = {"subnet": str(subnet), "vip": pool.partition("-")[0].strip(), "vip_pool": pool}
    variables = {
        "git": {"GIT_USER": GIT_USER, "GIT_PASSWORD": password},
        "edge": {"VIP": facts["vip"]},
    }
    for role in ROLES:
        outside = at if role.name != "edge" else ""
        ports = _ensure(env, bundle, role, subnet, variables.get(role.name, {}), outside)
        facts[f"{role.name}_port"] = ports["127.0.0.1"]
        facts[f"{role.name}_address"] = f"{at}:{ports[at]}" if outside else f"{address(subnet, role.name)}:{role.port}"
    facts["registry_url"] = f"http://{facts['registry_address']}"
    facts["git_url"] = f"http://{facts['git_address'].removesuffix(':80')}/git"
    facts["receiver_url"] = f"http://{facts['receiver_address']}/alertmanager"
    env.save(**facts)
    return {**facts, "git_user": GIT_USER, "git_password": password}


def _ensure(
    env: Env, bundle: Bundle, role: Role, subnet: ipaddress.IPv4Network, variables: dict[str, str], at: str
) -> dict[str, int]:
    """Start a role's container unless the right one runs; return its port on loopback, and at `at` if that is given."""
    import docker
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # The platform server outlives this process; the reaper would take it away.
    testcontainers_config.ryuk_disabled = True
    client = docker.from_env()
    name, image = env.container(role.name), bundle.local_image(role.image)
    wanted = client.images.get(image).id
    wanted_at = ("127.0.0.1", at) if at else ("127.0.0.1",)
    for found in client.containers.list(all=True, filters={"name": f"^{name}$"}):
        if (
            found.status == "running"
            and found.image
            and found.image.id == wanted
            and {*wanted_at} <= _published(found, role).keys()
        ):
            return _published(found, role)
        found.remove(force=True)
    container = DockerContainer(image).with_name(name)
    for key, value in variables.items():
        container.with_env(key, value)
    container.ports[f"{role.port}/tcp"] = [(one,) for one in wanted_at]
    if role.volume:
        source = str(bundle.registry_dir) if role.name == "registry" else f"{env.prefix}-{role.name}"
        container.with_volume_mapping(source, role.volume, "rw")
    endpoint = client.api.create_endpoint_config(ipv4_address=address(subnet, role.name))
    container.with_kwargs(
        network=env.prefix, networking_config={env.prefix: endpoint}, labels={LABEL: env.name}, init=True
    )
    container.start()
    running = client.containers.get(name)
    running.reload()
    return _published(running, role)


def _published(container: Any, role: Role) -> dict[str, int]:
    """The port on each address of this machine."""
    bindings = container.ports.get(f"{role.port}/tcp")
    if not bindings:
        raise MachineNotReady(f"{role.name} has no published port", where=container.name, last=container.status)
    return {str(b["HostIp"]): int(b["HostPort"]) for b in bindings}


def down(env: Env) -> None:
    """Remove the containers, their volumes, and the network."""
    label = f"label={LABEL}={env.name}"
    names = run(["docker", "ps", "-aq", "--filter", label], timeout_s=30).out.split()
    if names:
        run(["docker", "rm", "-f", "-v", *names], timeout_s=120)
    run(["docker", "volume", "rm", "-f", f"{env.prefix}-git"], timeout_s=30, check=False)
    run(["docker", "network", "rm", env.prefix], timeout_s=60, check=False)
