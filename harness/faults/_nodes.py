"""What the node faults share: the target by UID, and a control node that the fault must leave alone."""

from __future__ import annotations

import re

from harness._errors import TargetError
from harness.clusters.base import Node
from harness.faults._model import FaultContext, require
from harness.targets import Target, resolve


def check_name(fault: str, node: str) -> None:
    """Refuse what cannot be a node's name."""
    require(
        bool(re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", node)),
        f"{fault}: node",
        node,
        "a Kubernetes node name",
    )


def node_target(ctx: FaultContext, name: str, *, worker: bool = False) -> Target:
    """The node by UID; it must be one that we can get onto.

    With `worker` it may not be a control plane, unless that is one of three, and not the one that undoes API objects.
    """
    node = ctx.node(name)
    planes = [n.name for n in ctx.cluster.nodes if n.role == "control-plane"]
    spare = len(planes) >= 3 and name != planes[0]
    if worker and node.role != "worker" and not spare:
        raise TargetError(
            f"{name} is the control plane", fix="choose a worker: " + ", ".join(n.name for n in ctx.cluster.workers)
        )
    target = resolve(ctx.kube, "Node", name)
    return ctx.allowed.check(target)


def control_node(ctx: FaultContext, name: str) -> Node | None:
    """Another node, a worker if there is one."""
    others = sorted((n for n in ctx.cluster.nodes if n.name != name), key=lambda n: n.role != "worker")
    return others[0] if others else None


def address(ctx: FaultContext, name: str) -> str:
    """A node's address inside the cluster's network."""
    live = ctx.kube.get("Node", name) or {}
    for entry in live.get("status", {}).get("addresses") or []:
        if entry["type"] == "InternalIP":
            return str(entry["address"])
    raise TargetError("the node has no address", where=name)


def shell(node: Node, script: str, *, timeout_s: float = 15) -> str:
    """What a script printed on a node; empty when it failed."""
    done = node.run(["sh"], stdin=script, timeout_s=timeout_s, check=False)
    return done.out.strip() if done.ok else ""


def answers(node: Node, url: str, *, from_s: float = 1.0) -> bool:
    """Whether anything answers HTTP at `url`, as seen from the node, whatever the status."""
    return node.run(["curl", "-ksS", "-m", f"{from_s:g}", "-o", "/dev/null", url], check=False).ok
