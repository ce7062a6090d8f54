"""Provider `kubeadm`: machines over SSH, from bare Debian to a cluster, and back.

Every stage looks before it acts, so a run that was killed anywhere is continued by the next one; a machine that is
neither fresh nor wholly joined starts over.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness._errors import ClusterError, CommandFailed, HarnessError
from harness._progress import Step
from harness._wait import Budget, wait_for
from harness.clusters import _machine
from harness.clusters._inventory import Inventory, Machine, read_inventory
from harness.clusters._machine import API_PORT, Look
from harness.clusters._ready import ready_nodes
from harness.clusters._ssh import SshNode, all_reachable
from harness.clusters.base import SERVICE_SUBNET, Cluster
from harness.env import Env

if TYPE_CHECKING:
    from harness.bundle import Bundle
    from harness.config import Config

T = TypeVar("T")
INIT_TIMEOUT_S, JOIN_TIMEOUT_S = 300.0, 300.0
TOKEN_LIFE = "15m"  # noqa: S105 - a duration
ADMIN = "/etc/kubernetes/admin.conf"
API_BUDGET = Budget(120, every_s=0.5)
KUBECTL = ("kubectl", "--kubeconfig", ADMIN, "--request-timeout=5s")
JOINED = f"{_machine.STATE}/joined"


def up(env: Env, bundle: Bundle, registry_url: str, config: Config, step: Step) -> Cluster:
    """Make the cluster, continue a half-made one, or reuse the one that is there.

    Args:
        env: the environment.
        bundle: where kubeadm, kubelet and kubectl come from.
        registry_url: the mirror, as the machines reach it.
        config: where the inventory is.
        step: told what is going on.

    Raises:
        UsageError: the inventory does not fit.
        ClusterError: which machine, what is wrong with it, what to try.
    """
    inventory = read_inventory(config.kubeadm.inventory)
    key = _key(inventory, bundle, registry_url, config.kubeadm.pod_subnet)
    before = _recorded(env)
    if before == inventory and env.load().get("kubeadm_spec") == key and _all_ready(env, inventory):
        step.note("reusing the one that is there")
        return connect(env, config)
    if before is not None and before != inventory:
        step.note("the inventory has changed: restoring the machines of the old one")
        down(env)
    step.note(f"logging in to {len(inventory.machines)} machines")
    unreachable = all_reachable(inventory.machines)
    if unreachable:
        lines = [f"{name}: {why}" for name, why in unreachable.items()]
        raise ClusterError(
            f"{len(lines)} of {len(inventory.machines)} machines cannot be logged in to",
            where=str(config.kubeadm.inventory),
            last="\n".join(lines),
        )
    nodes = {m.name: SshNode(m) for m in inventory.machines}
    seen = _on_all(nodes.values(), _machine.look)
    _machine.check_all(inventory.machines, seen, env.name)
    _record(env, inventory)
    env.save(kubeadm_spec="")
    _Making(env, bundle, registry_url, config, inventory, nodes, seen, step).make()
    env.save(kubeadm_spec=key)
    return connect(env, config)


def connect(env: Env, config: Config) -> Cluster:
    """The cluster that is up; raises `ClusterError` when there is none."""
    inventory = _recorded(env)
    if inventory is None or not env.kubeconfig.exists():
        raise ClusterError("no cluster is up", where=env.name, fix="harness up --provider kubeadm")
    nodes = tuple(SshNode(m) for m in (*inventory.control_planes, *inventory.workers))
    return Cluster("kubeadm", env.kubeconfig, nodes, config.kubeadm.pod_subnet)


def down(env: Env) -> None:
    """Put every machine back to where it was; workers first, while there is an API to say goodbye to.

    Raises:
        ClusterError: machines that could not be restored, by name; the others are.
    """
    inventory = _recorded(env)
    if inventory is None:
        return
    failed: dict[str, str] = {}
    for group in (inventory.workers, *((m,) for m in reversed(inventory.control_planes))):
        failed |= _restored(group)
    if failed:
        lines = "\n".join(f"{name}: {why}" for name, why in failed.items())
        raise ClusterError(
            f"{len(failed)} machines could not be restored",
            where=", ".join(failed),
            last=lines,
            fix=f"harness down again when they answer; if they are gone for good, remove {_record_file(env)}",
        )
    env.kubeconfig.unlink(missing_ok=True)
    _record_file(env).unlink()
    if env.load():
        env.save(kubeadm_spec="", stack={})


def diagnose(env: Env, bundle: Bundle) -> Path:
    """Collect each machine's journals of kubelet and containerd, and the tails of its pods' logs."""
    folder = env.state_dir / "diagnostics"
    shutil.rmtree(folder, ignore_errors=True)
    wanted = {
        "kubelet.log": "journalctl -u kubelet --no-pager -n 2000",
        "containerd.log": "journalctl -u containerd --no-pager -n 1000",
        "pods.log": "tail -n 60 /var/log/pods/*/*/*.log",
    }
    inventory = _recorded(env)
    for machine in inventory.machines if inventory else ():
        (folder / machine.name).mkdir(parents=True)
        for name, command in wanted.items():
            try:
                text = SshNode(machine).run(["sh", "-c", command], timeout_s=60, check=False).out
            except CommandFailed as err:
                text = str(err)
            (folder / machine.name / name).write_text(text)
    return folder


class _Making:
    """One `up` on its way: what its stages share."""

    def __init__(
        self,
        env: Env,
        bundle: Bundle,
        registry_url: str,
        config: Config,
        inventory: Inventory,
        nodes: Mapping[str, SshNode],
        seen: Mapping[str, Look],
        step: Step,
    ) -> None:
        self.env, self.bundle, self.registry_url, self.config = env, bundle, registry_url, config
        self.inventory, self.nodes, self.seen, self.step = inventory, nodes, seen, step
        self.first = nodes[inventory.control_planes[0].name]
        self.endpoint = inventory.endpoint or f"{_machine.address_of(self.first.machine)}:{API_PORT}"

    def make(self) -> None:
        """All stages."""
        running = self._api_of_first()
        ca_hash = self._ca_hash() if running else ""
        stale = [n for n in self.nodes.values() if not self._joined(n, ca_hash)]
        self.step.note("clearing half-joined machines")
        self._start_over([n for n in stale if self.seen[n.name]["ours"] == "yes"], forget=running)
        self.step.note("preparing machines: packages, containerd, kubelet")
        _on_all(self.nodes.values(), self._prepare)
        if self.first in stale:
            self.step.note(f"kubeadm init on {self.first.name}")
            config = self._config(self.first, None)
            _machine.kubeadm(self.first, "init", config, timeout_s=INIT_TIMEOUT_S)
            ca_hash = self._ca_hash()
            self._mark(self.first, ca_hash)
        self._fetch_kubeconfig()
        self._join([n for n in stale if n != self.first], ca_hash)

    def _api_of_first(self) -> bool:
        """Whether the first machine was initialised to the end, and its API answers, now or soon."""
        if not self.seen[self.first.name]["joined"]:
            return False
        try:
            wait_for(
                f"the API on {self.first.name}",
                lambda: self.first.run([*KUBECTL, "get", "--raw", "/readyz"], check=False).out.strip(),
                lambda said: said == "ok",
                API_BUDGET,
                on_poll=lambda said: self.step.note(f"the API of the half-made cluster: {said or 'no answer'}"),
            )
        except HarnessError:
            return False
        return True

    def _joined(self, node: SshNode, ca_hash: str) -> bool:
        """Whether a machine is wholly part of this cluster: marked with its CA, and the API knows it."""
        if not ca_hash or self.seen[node.name]["joined"] != ca_hash:
            return False
        return node == self.first or self.first.run([*KUBECTL, "get", "node", node.name], check=False).ok

    def _start_over(self, nodes: Sequence[SshNode], *, forget: bool) -> None:
        failed = _restored([n.machine for n in nodes])
        if failed:
            name, why = next(iter(failed.items()))
            raise ClusterError("a half-joined machine could not be cleared", where=name, last=why)
        for node in nodes:
            if forget and node != self.first:
                self.first.run([*KUBECTL, "delete", "node", node.name, "--ignore-not-found"], timeout_s=30)

    def _prepare(self, node: SshNode) -> None:
        programs = {name: self.bundle.node_program(name) for name in _machine.PROGRAMS}
        values = {"env": self.env.name, "registry_url": self.registry_url, "pause": self.bundle.image("pause")}
        _machine.prepare(node, self.seen[node.name], programs, **values)

    def _config(self, node: SshNode, join: Mapping[str, str] | None) -> str:
        seen, address = self.seen[node.name], _machine.address_of(node.machine)
        hosts = [m.host for m in self.inventory.control_planes]
        addresses = [_machine.address_of(m) for m in self.inventory.control_planes]
        return _machine.render(
            "kubeadm.yaml.j2",
            machine=node.machine,
            join=join,
            address=address,
            port=API_PORT,
            endpoint=self.endpoint,
            version=self.bundle.versions["kubernetes"],
            env=self.env.prefix,
            pod_subnet=self.config.kubeadm.pod_subnet,
            service_subnet=SERVICE_SUBNET,
            sans=sorted({self.endpoint.rpartition(":")[0], *hosts, *addresses}),
            container=seen.container,
            cgroup_driver=seen.cgroup_driver,
            cgroup_v1=seen.cgroup_v1,
        )

    def _join(self, nodes: Sequence[SshNode], ca_hash: str) -> None:
        if not nodes:
            return
        self.step.note("making a short-lived token")
        token = self.first.run(["kubeadm", "token", "create", "--ttl", TOKEN_LIFE], timeout_s=30).out.strip()
        try:
            join = {"token": token, "ca_hash": ca_hash}
            planes = [n for n in nodes if n.role == "control-plane"]
            if planes:
                said = self.first.run(["kubeadm", "init", "phase", "upload-certs", "--upload-certs"], timeout_s=60).out
                join["certificate_key"] = said.strip().splitlines()[-1].strip()
            # One after the other: etcd takes in one new member at a time.
            for node in planes:
                self._join_one(node, join, ca_hash)
            workers = [n for n in nodes if n not in planes]
            self.step.note(f"kubeadm join on {', '.join(n.name for n in workers)}")
            _on_all(workers, lambda n: self._join_one(n, join, ca_hash, quiet=True))
        finally:
            self.first.run(["kubeadm", "token", "delete", token.partition(".")[0]], timeout_s=30, check=False)

    def _join_one(self, node: SshNode, join: Mapping[str, str], ca_hash: str, *, quiet: bool = False) -> None:
        if not quiet:
            self.step.note(f"kubeadm join on {node.name}")
        _machine.kubeadm(node, "join", self._config(node, join), timeout_s=JOIN_TIMEOUT_S)
        self._mark(node, ca_hash)

    def _mark(self, node: SshNode, ca_hash: str) -> None:
        node.run(["sh", "-c", f"printf %s {ca_hash} > {JOINED}.new && mv {JOINED}.new {JOINED}"])

    def _ca_hash(self) -> str:
        """As `kubeadm join` wants it: SHA-256 of the CA's public key."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
        from cryptography.x509 import load_pem_x509_certificate

        pem = self.first.run(["cat", "/etc/kubernetes/pki/ca.crt"]).out.encode()
        public = load_pem_x509_certificate(pem).public_key()
        info = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"sha256:{hashlib.sha256(info).hexdigest()}"

    def _fetch_kubeconfig(self) -> None:
        text = self.first.run(["cat", ADMIN]).out
        draft = self.env.kubeconfig.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(text)
        draft.replace(self.env.kubeconfig)


def _on_all(nodes: Collection[SshNode], do: Callable[[SshNode], T]) -> dict[str, T]:
    """Do something on several machines at once; the first failure is raised when all have ended."""
    if not nodes:
        return {}
    with ThreadPoolExecutor(len(nodes), thread_name_prefix="machine") as pool:
        futures = {node.name: pool.submit(do, node) for node in nodes}
    return {name: future.result() for name, future in futures.items()}


def _restored(machines: Sequence[Machine]) -> dict[str, str]:
    """Restore machines at once; return why, by name, for those that could not be."""

    def one(node: SshNode) -> str:
        try:
            _machine.restore(node)
        except CommandFailed as err:
            return str(err)
        return ""

    return {name: why for name, why in _on_all([SshNode(m) for m in machines], one).items() if why}


def _key(inventory: Inventory, bundle: Bundle, registry_url: str, pod_subnet: str) -> str:
    about = [inventory.model_dump(mode="json"), bundle.versions["kubernetes"], registry_url, pod_subnet]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _record_file(env: Env) -> Path:
    return env.state_dir / "machines.json"


def _record(env: Env, inventory: Inventory) -> None:
    """Note whom we touch, before we do: `down` needs no inventory file. Holds no secret."""
    draft = _record_file(env).with_suffix(".new")
    draft.write_text(inventory.model_dump_json(indent=1))
    draft.replace(_record_file(env))


def _recorded(env: Env) -> Inventory | None:
    file = _record_file(env)
    return Inventory.model_validate_json(file.read_text()) if file.exists() else None


def _all_ready(env: Env, inventory: Inventory) -> bool:
    """Whether the API answers and says that exactly these nodes are there, and Ready."""
    return ready_nodes(env.kubeconfig) == {m.name: True for m in inventory.machines}
