"""A way onto a node without SSH: a short-lived privileged pod that enters the node's own namespaces."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness._clock import CLOCK
from harness._errors import TargetError
from harness._run import Completed, run
from harness._wait import Budget, wait_for
from harness.clusters._power import Power
from harness.kube import Kube, Manifest

NAMESPACE = "resilience-harness"  # its opt-in label is also the marker of the cluster
LABEL = "resilience-harness/node-pod"
LIFE_S = 1800  # Kubernetes ends the pod after that, whatever becomes of the runner
FRESH_S = 900  # an older one is replaced, so that none ends under a running command
START_BUDGET = Budget(60, every_s=0.2)
ENTER = ("nsenter", "-t", "1", "-m", "-u", "-i", "-n", "-p", "--")
PUT_TIMEOUT_S = 60.0


def manifest(node: str, image: str) -> Manifest:
    """The pod: privileged, in the node's process namespace, on that node and no other."""
    container = {
        "name": "node",
        "image": image,
        "command": ["sleep", str(LIFE_S)],
        "securityContext": {"privileged": True},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "rh-node-", "namespace": NAMESPACE, "labels": {LABEL: "true"}},
        "spec": {
            "nodeName": node,
            "hostPID": True,
            "hostNetwork": True,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIFE_S,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        },
    }


@dataclass
class NodePods:
    """The pods of this process, one a node, made when first needed and removed when the process ends."""

    kube: Kube
    image: str
    _born: dict[str, tuple[str, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pod_on(self, node: str) -> str:
        """The name of the pod on a node."""
        with self._lock:
            name, born_s = self._born.get(node, ("", 0.0))
            if name and CLOCK.monotonic() - born_s < FRESH_S:
                return name
            if name:
                self.kube.delete("Pod", name, NAMESPACE, grace_s=0)
            else:
                atexit.register(self._remove, node)
            fresh = self._start(node)
            self._born[node] = (fresh, CLOCK.monotonic())
            return fresh

    def _start(self, node: str) -> str:
        made = self.kube.resource("Pod", "v1").create(body=manifest(node, self.image), namespace=NAMESPACE)
        name = str(made.to_dict()["metadata"]["name"])

        def look() -> str:
            status = (self.kube.get("Pod", name, NAMESPACE) or {}).get("status", {})
            waiting = [c["state"].get("waiting", {}).get("reason", "") for c in status.get("containerStatuses", [])]
            return str(status.get("phase")) + " ".join(["", *filter(None, waiting)])

        wait_for(
            f"a pod on node {node}",
            look,
            lambda seen: seen == "Running",
            START_BUDGET,
            fix=f"kubectl -n {NAMESPACE} describe pod {name}; attached.node_image must be one that the node can pull",
        )
        return name

    def _remove(self, node: str) -> None:
        name, _ = self._born.pop(node, ("", 0.0))
        if name:
            with contextlib.suppress(Exception):  # it ends by itself within its life
                self.kube.delete("Pod", name, NAMESPACE, grace_s=0)


@dataclass(frozen=True)
class PodNode:
    """A node that is entered through a pod on it; it has no power switch."""

    name: str
    role: str
    pods: NodePods
    kubectl: tuple[str, ...]
    power: Power | None = None

    def run(
        self, args: Sequence[str], *, timeout_s: float = 15, stdin: str | bytes | None = None, check: bool = True
    ) -> Completed:
        """Run a command as root in the node's own namespaces."""
        flags = ["-i"] if stdin is not None else []
        target = [*self.kubectl, "exec", *flags, "-n", NAMESPACE, self.pods.pod_on(self.name), "--"]
        where = f"node {self.name}"
        return run([*target, *ENTER, *args], timeout_s=timeout_s, stdin=stdin, check=check, where=where)

    def put(self, source: Path, target: str, *, mode: str = "0755") -> None:
        """Copy a local file onto the node."""
        write = 'cat > "$0" && chmod "$1" "$0"'
        self.run(["sh", "-c", write, target, mode], stdin=source.read_bytes(), timeout_s=PUT_TIMEOUT_S)

    def power_off(self) -> None:
        """Not possible from inside the cluster."""
        self._no_power()

    def power_on(self) -> None:
        """Not possible from inside the cluster."""
        self._no_power()

    def reboot(self) -> None:
        """Not possible from inside the cluster in a way that ends well."""
        self._no_power()

    def _no_power(self) -> None:
        raise TargetError(
            "an attached cluster's nodes have no power switch", where=self.name, fix="the provider kubeadm has one"
        )
