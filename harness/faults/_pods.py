"""Pods for faults: found by selector, hit by UID; their containers' processes and network by container id."""

from __future__ import annotations

from typing import Any

from harness._errors import TargetError
from harness.faults._model import FaultContext, Workload
from harness.kube import Manifest
from harness.targets import Target, pod_target, running_pods

API_OF = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1"}
TASK_DIR = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"


def pods(ctx: FaultContext, workload: Workload) -> list[Manifest]:
    """All pods of a workload, whatever their phase."""
    return ctx.kube.list("Pod", workload.namespace, labels=workload.labels)


def victims(ctx: FaultContext, workload: Workload, which: str) -> list[Manifest]:
    """The pods to hit: the oldest one, or all; raises `TargetError` when there is none that runs."""
    ctx.allowed.check(Target("Namespace", workload.namespace, workload.namespace, ""))
    found = running_pods(ctx.kube, workload.namespace, workload.labels)
    return found if which == "all" else found[:1]


def targets(found: list[Manifest]) -> tuple[Target, ...]:
    """Pods as targets."""
    return tuple(pod_target(p) for p in found)


def control_pod(ctx: FaultContext, workload: Workload, *, node: str = "") -> Manifest | None:
    """A running pod of the same namespace that the fault must leave alone: on the same node if there is one."""
    hit = set(workload.selector.items())
    others = [
        p
        for p in ctx.kube.list("Pod", workload.namespace)
        if is_ready(p) and not hit <= set((p["metadata"].get("labels") or {}).items())
    ]
    others.sort(key=lambda p: (p["spec"].get("nodeName") != node, p["metadata"]["name"]))
    return others[0] if others else None


def is_ready(pod: Manifest) -> bool:
    """Whether a pod is ready and not being deleted."""
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions") or []}
    return conditions.get("Ready") == "True" and not pod["metadata"].get("deletionTimestamp")


def container_ids(pod: Manifest) -> list[str]:
    """The ids of a pod's running containers, as the runtime knows them; raises `TargetError` when none runs."""
    found = [
        s["containerID"].partition("://")[2]
        for s in pod["status"].get("containerStatuses") or []
        if s.get("containerID") and (s.get("state") or {}).get("running")
    ]
    if not found:
        meta = pod["metadata"]
        raise TargetError("no container of the pod runs", where=f"{meta['namespace']}/{meta['name']}")
    return found


def pid_of(ctx: FaultContext, node: str, container_id: str) -> tuple[int, str]:
    """A container's first process: its pid on the node, and its start time, which together are an identity."""
    script = f'pid=$(cat {TASK_DIR}/{container_id}/init.pid) && echo "$pid" && cut -d" " -f22 "/proc/$pid/stat"\n'
    done = ctx.node(node).run(["sh"], stdin=script, check=False)
    words = done.out.split()
    if not done.ok or len(words) != 2:
        raise TargetError("the container's process was not found", where=f"node {node}", last=done.err or done.out)
    return int(words[0]), words[1]


def netns_of(ctx: FaultContext, pod: Manifest) -> str:
    """The name of a pod's network namespace on its node: unique, and gone with the pod."""
    node = pod["spec"]["nodeName"]
    pid, _ = pid_of(ctx, node, container_ids(pod)[0])
    done = ctx.node(node).run(["ip", "netns", "identify", str(pid)], check=False)
    name = done.out.strip()
    if not done.ok or not name or pod["spec"].get("hostNetwork"):
        raise TargetError(
            "the pod has no network namespace of its own",
            where=f"{node}/{pod['metadata']['name']}",
            last=done.err.strip() or name,
        )
    return name


def gone_or_terminating(live: dict[str, Any] | None, uid: str) -> bool:
    """Whether the object of that UID is no longer, or is on its way out."""
    return live is None or live["metadata"]["uid"] != uid or bool(live["metadata"].get("deletionTimestamp"))
