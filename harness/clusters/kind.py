"""Provider `kind`: kubeadm in containers, for the desk and for CI."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from harness._errors import ClusterError, CommandFailed
from harness._progress import Step
from harness._run import Completed, run
from harness.clusters._power import Power, container_power
from harness.clusters._ready import ready_nodes
from harness.clusters.base import POD_SUBNET, SERVICE_SUBNET, Cluster
from harness.env import Env

if TYPE_CHECKING:
    from harness.bundle import Bundle
    from harness.config import Config

CREATE_TIMEOUT_S = 420


@dataclass(frozen=True)
class KindSpec:
    """What the cluster shall be; a change recreates it."""

    image: str
    image_id: str
    workers: int = 2
    pod_subnet: str = POD_SUBNET

    def key(self) -> str:
        """A hash by which a running cluster is compared with what is wanted."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class KindNode:
    """A node that is a container; its name is that of the container."""

    name: str
    role: str

    def run(
        self, args: Sequence[str], *, timeout_s: float = 15, stdin: str | bytes | None = None, check: bool = True
    ) -> Completed:
        """Run a command as root in the node's container."""
        flags = ["-i"] if stdin is not None else []
        command = ["docker", "exec", *flags, self.name, *args]
        return run(command, timeout_s=timeout_s, stdin=stdin, check=check, where=f"node {self.name}")

    def put(self, source: Path, target: str, *, mode: str = "0755") -> None:
        """Copy a local file onto the node."""
        run(["docker", "cp", "-q", str(source), f"{self.name}:{target}"], timeout_s=60, where=f"node {self.name}")
        self.run(["chmod", mode, target])

    @property
    def power(self) -> Power:
        """Killing and starting the container."""
        return container_power(self.name)

    def power_off(self) -> None:
        """Kill the container: no shutdown."""
        self.power.switch("off", self.name)

    def power_on(self) -> None:
        """Start the container."""
        self.power.switch("on", self.name)

    def reboot(self) -> None:
        """Restart the container at once."""
        self.power.switch("reset", self.name)


def spec_for(bundle: Bundle, workers: int) -> KindSpec:
    """The specification that the configuration and the bundle's node image ask for."""
    image = bundle.local_image("node")
    shown = run(["docker", "image", "inspect", "--format", "{{.Id}}", image], timeout_s=30)
    return KindSpec(image, shown.out.strip(), workers)


def up(env: Env, bundle: Bundle, registry_url: str, config: Config, step: Step) -> Cluster:
    """Make the cluster, or reuse the one that is there when its specification is unchanged and its API answers.

    Args:
        env: the environment.
        bundle: where kind and the node image come from.
        registry_url: the mirror, as nodes reach it.
        config: how many workers.
        step: told what is going on.

    Raises:
        ClusterError: kind could not make it; diagnostics are collected first, then it is removed.
    """
    spec = spec_for(bundle, config.kind.workers)
    if env.load().get("kind_spec") == spec.key() and _alive(env):
        step.note("reusing the one that is there")
        return connect(env, config)
    step.note("removing what is left of an older one")
    down(env)
    certs = _mirror_config(env, registry_url)
    file = env.state_dir / "kind.yaml"
    file.write_text(yaml.safe_dump(_config(spec, certs)))
    step.note("kubeadm init and join")
    args = ["create", "cluster", "--name", env.prefix, "--config", str(file), "--retain"]
    try:
        _kind(env, bundle, *args, "--kubeconfig", str(env.kubeconfig), "--wait", "0s", timeout_s=CREATE_TIMEOUT_S)
    except CommandFailed as err:
        folder = diagnose(env, bundle)
        down(env)
        raise ClusterError(
            "kind could not make the cluster", where=env.prefix, last=err.last, fix=f"node logs are in {folder}"
        ) from err
    env.kubeconfig.chmod(0o600)
    env.save(kind_spec=spec.key())
    return connect(env, config)


def connect(env: Env, config: Config) -> Cluster:
    """The running cluster; raises `ClusterError` when there is none."""
    names = _containers(env, "--filter", "status=running")
    if not names or not env.kubeconfig.exists():
        raise ClusterError("no cluster is up", where=env.prefix, fix="harness up")
    nodes = tuple(KindNode(n, "control-plane" if "control-plane" in n else "worker") for n in sorted(names))
    return Cluster("kind", env.kubeconfig, nodes)


def down(env: Env) -> None:
    """Remove the cluster's containers and their volumes, and its kubeconfig."""
    names = _containers(env, "-a")
    if names:
        run(["docker", "rm", "-f", "-v", *names], timeout_s=180)
    env.kubeconfig.unlink(missing_ok=True)
    if env.load():
        env.save(kind_spec="", stack={})


def diagnose(env: Env, bundle: Bundle) -> Path:
    """Collect the nodes' journals and pod logs; return the folder."""
    folder = env.state_dir / "diagnostics"
    shutil.rmtree(folder, ignore_errors=True)
    _kind(env, bundle, "export", "logs", str(folder), "--name", env.prefix, timeout_s=180, check=False)
    return folder


def _kind(env: Env, bundle: Bundle, *args: str, timeout_s: float, check: bool = True) -> Completed:
    variables = {"KIND_EXPERIMENTAL_DOCKER_NETWORK": env.prefix, "KIND_EXPERIMENTAL_PROVIDER": "docker"}
    return run([str(bundle.tool("kind")), *args], timeout_s=timeout_s, env=variables, check=check)


def _containers(env: Env, *flags: str) -> list[str]:
    label = f"label=io.x-k8s.kind.cluster={env.prefix}"
    return run(["docker", "ps", *flags, "--filter", label, "--format", "{{.Names}}"], timeout_s=30).out.split()


def _alive(env: Env) -> bool:
    """Whether all its containers run, and the API says that all nodes are Ready."""
    if len(_containers(env, "--filter", "status=running")) != len(_containers(env, "-a")):
        return False
    nodes = ready_nodes(env.kubeconfig)
    return nodes is not None and bool(nodes) and all(nodes.values())


def _mirror_config(env: Env, registry_url: str) -> Path:
    """Containerd's host configuration: ask the mirror for every image, whatever its upstream host."""
    folder = env.state_dir / "certs.d"
    (folder / "_default").mkdir(parents=True, exist_ok=True)
    (folder / "_default" / "hosts.toml").write_text(
        f'[host."{registry_url}"]\n  capabilities = ["pull", "resolve"]\n  skip_verify = true\n'
    )
    return folder


def _config(spec: KindSpec, certs: Path) -> dict[str, object]:
    mounts = [{"hostPath": str(certs), "containerPath": "/etc/containerd/certs.d", "readOnly": True}]
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "serializeImagePulls": False,
        "maxParallelImagePulls": 4,
        "nodeStatusUpdateFrequency": "4s",
    }
    node = {"image": spec.image, "extraMounts": mounts}
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {
            "disableDefaultCNI": True,
            "podSubnet": spec.pod_subnet,
            "serviceSubnet": SERVICE_SUBNET,
            "ipFamily": "ipv4",
        },
        "containerdConfigPatches": [
            '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"'
        ],
        "kubeadmConfigPatches": [yaml.safe_dump(kubelet)],
        "nodes": [{"role": "control-plane", **node}, *({"role": "worker", **node} for _ in range(spec.workers))],
    }


__all__ = ["KindNode", "KindSpec", "connect", "diagnose", "down", "up"]
