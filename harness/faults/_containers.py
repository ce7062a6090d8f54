"""Faults inside one container's control group: found by container id on the node, never by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness._errors import TargetError
from harness.faults._model import Aim, FaultContext, Workload
from harness.faults._pods import container_ids, control_pod, pid_of, targets, victims
from harness.kube import Manifest


@dataclass(frozen=True)
class Box:
    """One container: its node, id, first process, and its control groups on the node."""

    pod: str
    node: str
    id: str
    pid: int
    start: str
    groups: dict[str, str]

    def group(self, controller: str) -> str:
        """The folder of its group for a controller; that of the one hierarchy on a machine with cgroup v2."""
        return self.groups.get(controller) or self.groups.get("", "")

    @property
    def v2(self) -> bool:
        """Whether the machine has cgroup v2 only."""
        return not any(self.groups.get(c) for c in ("cpu", "memory", "freezer"))


def box_of(ctx: FaultContext, pod: Manifest) -> Box:
    """The first container of a pod."""
    node, container = pod["spec"]["nodeName"], container_ids(pod)[0]
    pid, start = pid_of(ctx, node, container)
    shown = ctx.node(node).run(["cat", f"/proc/{pid}/cgroup"], check=False).out
    groups: dict[str, str] = {}
    for line in shown.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            groups[name] = f"/sys/fs/cgroup/{names}{path}" if names else f"/sys/fs/cgroup{path}"
    box = Box(pod["metadata"]["name"], node, container, pid, start, groups)
    if not (box.group("cpu") and box.group("memory")):
        raise TargetError("the container's control groups were not found", where=f"{node}/{box.pod}", last=shown[:300])
    return box


def aim_at_containers(ctx: FaultContext, workload: Workload, which: str, mechanism: str) -> Aim:
    """Resolve the first containers of a workload's pods, and that of an untouched control pod."""
    found = victims(ctx, workload, which)
    other = control_pod(ctx, workload, node=found[0]["spec"]["nodeName"])
    if other is None:
        raise TargetError("no other pod is there as an untouched control", where=workload.namespace)
    facts: dict[str, Any] = {"boxes": [box_of(ctx, p) for p in found], "control": box_of(ctx, other)}
    return Aim(targets(found), mechanism, facts)


def with_facts(aim: Aim, **facts: Any) -> Aim:
    """The aim with more to remember."""
    return replace(aim, facts={**aim.facts, **facts})


def read(ctx: FaultContext, node: str, path: str) -> str:
    """A file of a node, stripped; empty when it is not there (the container is gone)."""
    return ctx.node(node).run(["cat", path], check=False).out.strip()
