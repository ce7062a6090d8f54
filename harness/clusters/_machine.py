"""One machine on its way to a node, and back: look at it, say what is wrong with it, prepare it, restore it."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness._clock import CLOCK
from harness._errors import ClusterError, CommandFailed
from harness.clusters._inventory import Machine
from harness.clusters._ssh import SshNode

FOLDER = Path(__file__).parents[2] / "deploy" / "machines"
PROGRAMS = ("kubeadm", "kubelet", "kubectl")
# Debian's package of each program that Kubernetes, Calico and the faults need on a node.
PACKAGES = {"mount": "mount", "ip": "iproute2"}
API_PORT = 6443
PORTS = {"control-plane": (API_PORT, 2379, 2380, 10250, 10257, 10259), "worker": (10250,)}
LEAST_KERNEL = (4, 19)  # what kubeadm 1.35 accepts
LEAST_MEMORY_KIB = {"control-plane": 1700 * 1024, "worker": 900 * 1024}  # kubeadm's own bound; ours
LEAST_CPUS = {"control-plane": 2, "worker": 1}
LEAST_DISK_KIB = 6 * 2**20
MOST_SKEW_S = 2.0  # evidence of several machines is put on one clock
STATE = "/var/lib/resilience-harness-machine"
LOOK_TIMEOUT_S, PREPARE_TIMEOUT_S, RESTORE_TIMEOUT_S = 20.0, 600.0, 300.0
SECRET = re.compile(r"\b([a-z0-9]{6}\.[a-z0-9]{16}|[0-9a-f]{64})\b")


@dataclass(frozen=True)
class Look:
    """What a machine is, as `look.sh` saw it.

    Args:
        values: its `key=value` lines.
        skew_s: its clock less ours; the error is half of `round_trip_s`.
        round_trip_s: how long the asking took.
    """

    values: Mapping[str, str]
    skew_s: float
    round_trip_s: float

    def __getitem__(self, key: str) -> str:
        return self.values.get(key, "")

    @property
    def container(self) -> bool:
        """Whether it is a container, which shares its host's kernel and may not change it."""
        return self["container"] not in ("", "none")

    @property
    def cgroup_v1(self) -> bool:
        """Whether the kernel still has the first version of control groups."""
        return self["cgroup"] != "cgroup2fs"

    @property
    def cgroup_driver(self) -> str:
        """With the systemd driver kubelet dies on a hybrid hierarchy ("cgroup [kubepods] has some missing paths")."""
        return "cgroupfs" if self.cgroup_v1 else "systemd"


def address_of(machine: Machine) -> str:
    """The address that the cluster uses for a machine; raises `ClusterError` when its name leads nowhere."""
    try:
        return machine.address or socket.gethostbyname(machine.host)
    except OSError as err:
        raise ClusterError("the machine's name leads nowhere", where=machine.host, last=str(err)) from err


def look(node: SshNode) -> Look:
    """Look at a machine; touches nothing."""
    node.run(["true"], timeout_s=LOOK_TIMEOUT_S)  # the connection is made before the clocks are compared
    start_s, start_wall_s = CLOCK.monotonic(), CLOCK.wall()
    first = node.run(["date", "+%s.%N"], timeout_s=LOOK_TIMEOUT_S)
    round_trip_s = CLOCK.monotonic() - start_s
    skew_s = float(first.out) - (start_wall_s + round_trip_s / 2)
    out = node.run(["sh"], stdin=(FOLDER / "look.sh").read_text(), timeout_s=LOOK_TIMEOUT_S).out
    return Look(dict(line.split("=", 1) for line in out.splitlines() if "=" in line), skew_s, round_trip_s)


def problems(machine: Machine, seen: Look, env: str) -> list[str]:
    """What is wrong with a machine, one sentence each; empty when Kubernetes can be put on it."""
    found = []
    kernel = tuple(int(n) for n in re.findall(r"\d+", seen["kernel"])[:2])
    if kernel < LEAST_KERNEL:
        found.append(f"its kernel {seen['kernel']} is too old: {LEAST_KERNEL[0]}.{LEAST_KERNEL[1]} or newer is needed")
    if seen["arch"] != "x86_64":
        found.append(f"its processor is {seen['arch']}; the bundle is for x86_64")
    if seen["uid"] != "0":
        found.append("the account is not root: set `become = true` and allow it `sudo` without a password")
    if seen["systemd"] != "yes":
        found.append("its init system is not systemd")
    for key, least, what, unit in (
        ("cpus", LEAST_CPUS[machine.role], "processors", 1),
        ("memory_kib", LEAST_MEMORY_KIB[machine.role], "MiB of memory", 1024),
        ("free_kib", LEAST_DISK_KIB, "MiB free in /var", 1024),
    ):
        if int(seen[key] or 0) < least:
            found.append(f"it has {int(seen[key] or 0) // unit} {what}; a {machine.role} needs {least // unit}")
    if abs(seen.skew_s) > MOST_SKEW_S + seen.round_trip_s / 2:
        word = "ahead of" if seen.skew_s > 0 else "behind"
        found.append(f"its clock is {abs(seen.skew_s):.1f} s {word} this machine's: let NTP set both")
    if address_of(machine) not in seen["addresses"].split():
        found.append(f"{address_of(machine)} is none of its addresses ({seen['addresses'].strip()}): set `address`")
    if seen["env"] not in ("", env):
        found.append(f"it belongs to the environment {seen['env']}: `harness --env {seen['env']} down` first")
    if seen["kubernetes"] == "yes" and seen["ours"] != "yes":
        found.append("there is a Kubernetes on it that is not ours: `kubeadm reset` it first, if you can do without")
    if seen["kubernetes"] != "yes":
        taken = sorted(set(PORTS[machine.role]) & {int(p) for p in seen["ports"].split()})
        found += [f"port {port} is taken: `ss -ltnp sport = :{port}` on it says by what" for port in taken]
    if not seen["resolvers"].strip():
        found.append("its name servers are all on loopback, where no pod can ask them: give /etc/resolv.conf another")
    if seen["missing"].strip() and not seen["apt"]:
        found.append(f"it lacks {seen['missing'].strip()}, and has no apt-get to install them")
    return found


def check_all(machines: Sequence[Machine], seen: Mapping[str, Look], env: str) -> None:
    """Raise one `ClusterError` that names everything that is wrong, machine by machine."""
    found = [f"{m.name}: {what}" for m in machines for what in problems(m, seen[m.name], env)]
    ids: dict[str, list[str]] = {}
    for machine in machines:
        ids.setdefault(seen[machine.name]["machine_id"], []).append(machine.name)
    found += [
        f"{' and '.join(names)}: the same /etc/machine-id (cloned?): `systemd-machine-id-setup` after removing it"
        for machine_id, names in ids.items()
        if machine_id and len(names) > 1
    ]
    if found:
        rest = "\n".join(found[1:]) or None
        raise ClusterError(f"not ready: {found[0]}", where=f"{len(found)} to mend", last=rest, fix="mend, then again")


def render(name: str, **values: Any) -> str:
    """A template of `deploy/machines/`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    engine = Environment(  # noqa: S701 - shell and YAML, not HTML
        loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return engine.get_template(name).render(**values)


def prepare(node: SshNode, seen: Look, programs: Mapping[str, Path], **values: str) -> None:
    """Packages, kernel settings, containerd with the mirror, kubelet's unit, and the programs. Idempotent.

    Args:
        node: the machine.
        seen: what it is.
        programs: local files of `PROGRAMS`.
        values: `env`, `registry_url` and `pause` (an image) for the template.
    """
    script = render(
        "prepare.sh.j2",
        packages=[PACKAGES.get(p, p) for p in seen["missing"].split()],
        container=seen.container,
        cgroup_driver=seen.cgroup_driver,
        **values,
    )
    out = node.run(["sh"], stdin=script, timeout_s=PREPARE_TIMEOUT_S).out
    there = {path: digest for digest, path in re.findall(r"^([0-9a-f]{64}) +(\S+)$", out, flags=re.MULTILINE)}
    for name in PROGRAMS:
        target = f"/usr/bin/{name}"
        with programs[name].open("rb") as file:
            wanted = hashlib.file_digest(file, "sha256").hexdigest()
        if there.get(target) != wanted:
            node.put(programs[name], target)
    reached = node.run(["curl", "-fsS", "-m", "5", "-o", "/dev/null", f"{values['registry_url']}/v2/"], check=False)
    if not reached.ok:
        raise ClusterError(
            "the machine cannot reach the mirror registry",
            where=f"{node.name} -> {values['registry_url']}",
            last=reached.err.strip(),
            fix="kubeadm.server_address must be an address of this machine that the others reach",
        )


def kubeadm(node: SshNode, what: str, config: str, *, timeout_s: float) -> None:
    """`kubeadm init` or `join` with a configuration that never touches the disk; no secret gets into an error.

    Raises:
        ClusterError: it failed; carries what it said last.
    """
    try:
        node.run(["kubeadm", what, "--config", "/dev/stdin"], stdin=config, timeout_s=timeout_s)
    except CommandFailed as err:
        raise ClusterError(
            f"kubeadm {what} failed: {err.what}",
            where=node.name,
            last=SECRET.sub("[secret]", str(err.last)),
            fix="run again: what is half done starts over",
        ) from None


def restore(node: SshNode) -> None:
    """Put a machine back to where it was; nothing to do where nothing of ours is; raises `CommandFailed`."""
    node.run(["sh"], stdin=(FOLDER / "restore.sh").read_text(), timeout_s=RESTORE_TIMEOUT_S)
