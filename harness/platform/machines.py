"""Machines to try the provider `kubeadm` on: containers with systemd and sshd from a plain Debian, without Kubernetes.

They stand on the environment's network beside its platform server. Real machines need only another inventory.
"""

from __future__ import annotations

import io
import ipaddress
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness._errors import UsageError
from harness._progress import Show
from harness._run import run
from harness._wait import Budget, wait_for
from harness.clusters._inventory import CONTROL_PLANES
from harness.env import Env
from harness.platform import server

if TYPE_CHECKING:
    from harness.bundle import Bundle

LABEL = "resilience-harness.machines"  # not the platform server's: `harness down` keeps the machines
FIRST_NUMBER = 150  # of their addresses on the environment's network
BALANCER_NUMBER = 149
COMPONENTS = ("machine", "edge")  # of the bundle
START_BUDGET = Budget(60, every_s=0.3)
# What a real machine has and a container has not: a machine id of its own, mounts that are shared with containers in it, and
# a name server that is not on its own loopback (Docker's is, and CoreDNS would ask itself).
BOOT = """\
if [ ! -e /.booted ]; then
  tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id
  [ ! -e /var/lib/dbus/machine-id ] || cp /etc/machine-id /var/lib/dbus/machine-id
  : > /.booted
fi
server=$(sed -n 's/^# ExtServers: \\[[a-z(]*\\([0-9.]*\\).*/\\1/p' /etc/resolv.conf)
case "$server" in "" | 127.*) server=$(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p') ;; esac
echo "nameserver $server" > /etc/resolv.conf
mount --make-rshared /
exec /sbin/init
"""
BALANCER = """\
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    default-server check inter 1s fall 2 rise 2
frontend api
    bind :6443
    default_backend planes
backend planes
    option tcp-check
"""


def names(control_planes: int, workers: int) -> dict[str, str]:
    """Role by name."""
    planes = {f"cp{n + 1}" if control_planes > 1 else "cp": "control-plane" for n in range(control_planes)}
    return planes | {f"w{n + 1}": "worker" for n in range(workers)}


def up(env: Env, bundle: Bundle, show: Show, *, control_planes: int, workers: int, inventory: Path) -> None:
    """Start the machines that do not run, and write the inventory that names them.

    Args:
        env: whose network they stand on.
        bundle: where the image comes from.
        show: the progress display.
        control_planes: 1 or 3; three get a load balancer before them.
        workers: how many.
        inventory: the file to write.

    Raises:
        UsageError: that number of control planes is not possible.
        WaitTimeout: systemd or sshd did not come up.
    """
    if control_planes not in CONTROL_PLANES:
        raise UsageError(f"{control_planes} control planes are not possible", fix="1 or 3")
    subnet = server.ensure_network(env)
    key = _key(env)
    known, lines = env.state_dir / "known_hosts", []
    tables = [f'user = "root"\nkey = "{key}"\nknown_hosts = "{known}"\n']
    addresses: dict[str, str] = {}
    with show.step(f"machines: {control_planes + workers} containers") as step:
        for number, (name, role) in enumerate(names(control_planes, workers).items()):
            container, address = env.container(name), str(subnet[FIRST_NUMBER + number])
            step.note(f"starting {name}")
            _start(env, bundle, container, address)
            host_key = _let_in(container, key.with_suffix(".pub").read_text())
            lines.append(f"{address} {host_key}")
            tables.append(
                f'[[machines]]\nname = "{name}"\nhost = "{address}"\nrole = "{role}"\n'
                f'power = {{ driver = "container", target = "{container}" }}\n'
            )
            if role == "control-plane":
                addresses[name] = address
        if control_planes > 1:
            step.note("starting the load balancer")
            endpoint = _balance(env, bundle, subnet, addresses)
            tables[0] = f'endpoint = "{endpoint}"\n' + tables[0]
    known.write_text("\n".join(lines) + "\n")
    inventory.parent.mkdir(parents=True, exist_ok=True)
    inventory.write_text("# Containers, made by `harness machines up`.\n" + "\n".join(tables))


def down(env: Env) -> None:
    """Remove the machines with all that is on them, and what is known of the cluster that they were."""
    names = run(["docker", "ps", "-aq", "--filter", f"label={LABEL}={env.name}"], timeout_s=30).out.split()
    if names:
        run(["docker", "rm", "-f", "-v", *names], timeout_s=180)
    run(["docker", "network", "rm", env.prefix], timeout_s=60, check=False)  # unless the platform server is on it
    for name in ("machines.json", "known_hosts", "ssh_key", "ssh_key.pub"):
        (env.state_dir / name).unlink(missing_ok=True)


def _key(env: Env) -> Path:
    """A key pair of the environment's own."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    path = env.state_dir / "ssh_key"
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        path.touch(mode=0o600)
        path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        path.with_suffix(".pub").write_bytes(made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    return path


def _start(env: Env, bundle: Bundle, name: str, address: str) -> None:
    from docker.types import Mount

    kwargs: dict[str, Any] = {
        "privileged": True,
        "hostname": name,
        "mounts": [
            *(Mount(path, None, type="tmpfs") for path in ("/run", "/tmp")),  # noqa: S108 - of the container
            Mount("/var", None),  # a volume of its own: overlayfs does not stack on overlayfs
        ],
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
        "cgroupns": "private",
    }
    _ensure(env, bundle.local_image("machine"), name, address, ["sh", "-c", BOOT], kwargs)


def _ensure(env: Env, image: str, name: str, address: str, command: list[str], kwargs: dict[str, Any]) -> None:
    """Start a container unless it runs."""
    import docker
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True  # the machines outlive this process
    client = docker.from_env()
    for found in client.containers.list(all=True, filters={"name": f"^{name}$"}):
        if found.status != "running":
            found.start()
        return
    endpoint = client.api.create_endpoint_config(ipv4_address=address)
    container = DockerContainer(image).with_name(name).with_command(command)
    container.with_kwargs(
        network=env.prefix, networking_config={env.prefix: endpoint}, labels={LABEL: env.name}, **kwargs
    )
    container.start()


def _let_in(container: str, public_key: str) -> str:
    """Let a key in; return the machine's own host key, told by the machine itself."""
    script = (
        "ssh-keygen -A >/dev/null && mkdir -p -m 700 /root/.ssh && cat > /root/.ssh/authorized_keys "
        "&& systemctl start ssh && systemctl is-active -q ssh && cat /etc/ssh/ssh_host_ed25519_key.pub"
    )

    def ask() -> str:
        done = run(["docker", "exec", "-i", container, "sh", "-c", script], timeout_s=20, stdin=public_key, check=False)
        return done.out.strip() if done.ok else ""

    fix = f"docker logs {container}; docker exec {container} journalctl"
    shown = wait_for(f"sshd on {container}", ask, bool, START_BUDGET, fix=fix)
    return " ".join(shown.split()[:2])


def _balance(env: Env, bundle: Bundle, subnet: ipaddress.IPv4Network, planes: dict[str, str]) -> str:
    """A load balancer before the control planes; return `host:port`."""
    servers = "".join(f"    server {name} {address}:6443\n" for name, address in planes.items())
    address, name = str(subnet[BALANCER_NUMBER]), env.container("balancer")
    _ensure(env, bundle.local_image("edge"), name, address, ["sleep", "infinity"], {"init": True})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        about = tarfile.TarInfo("haproxy.cfg")
        data = (BALANCER + servers).encode()
        about.size = len(data)
        tar.addfile(about, io.BytesIO(data))
    run(["docker", "cp", "-q", "-", f"{name}:/tmp"], timeout_s=30, stdin=archive.getvalue())
    reload = "p=/tmp/haproxy.pid; haproxy -D -f /tmp/haproxy.cfg -p $p $([ -s $p ] && echo -sf $(cat $p))"
    run(["docker", "exec", name, "sh", "-c", reload], timeout_s=30)
    return f"{address}:6443"
