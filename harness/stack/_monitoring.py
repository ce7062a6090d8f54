"""What the components in the namespace `monitoring` share: how they are applied, and where they are reached."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from harness._errors import ClusterError
from harness.kube import Kube, Manifest
from harness.stack.base import StackContext, render

NAMESPACE = "monitoring"
PORTS = {"prometheus": 30090, "alertmanager": 30093, "loki": 30100, "grafana": 30300}
CONFIG_MARK = "resilience-harness/config"


def apply(ctx: StackContext, component: str, **values: Any) -> None:
    """Render a component's templates and apply them; a changed configuration restarts its pods.

    What stands still stands on the first control-plane node, which faults leave alone: the eyes outlast what they watch.
    """
    node = ctx.cluster.control_plane.name
    manifests = render(component, namespace=NAMESPACE, profile=ctx.profile, node=node, **values)
    namespace: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    ctx.kube.apply_all([namespace, *mark_config(manifests)])


def mark_config(manifests: list[Manifest]) -> list[Manifest]:
    """Write a hash of all ConfigMaps and Secrets into the pod templates, so that a change is rolled out."""
    data = [m for m in manifests if m["kind"] in {"ConfigMap", "Secret"}]
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
    for manifest in manifests:
        template = manifest.get("spec", {}).get("template")
        if data and template:
            template["metadata"].setdefault("annotations", {})[CONFIG_MARK] = digest
    return manifests


def node_url(kube: Kube, port: int) -> str:
    """The URL of a NodePort on the control-plane node, which faults on workers leave alone."""
    nodes = kube.list("Node")
    nodes.sort(key=lambda n: "node-role.kubernetes.io/control-plane" not in n["metadata"].get("labels", {}))
    for node in nodes:
        for address in node["status"].get("addresses", ()):
            if address["type"] == "InternalIP":
                return f"http://{address['address']}:{port}"
    raise ClusterError("no node has an address", last=", ".join(n["metadata"]["name"] for n in nodes))


def answers(url: str, *, timeout_s: float = 3) -> str:
    """Empty when `url` answers with a good status, otherwise what it said."""
    import httpx

    try:
        reply = httpx.get(url, timeout=timeout_s)
    except httpx.TransportError as err:
        return f"{url}: {type(err).__name__}"
    return "" if reply.is_success else f"{url}: status {reply.status_code}"
