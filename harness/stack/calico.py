"""Calico with VXLAN: upstream's manifest, patched for kernels that have neither IP-in-IP nor BPF."""

from __future__ import annotations

from harness.clusters.base import SERVICE_SUBNET
from harness.kube import Manifest, load_manifests
from harness.stack.base import Component, StackContext, set_env, workloads_ready

SETTINGS = {
    "CALICO_IPV4POOL_IPIP": "Never",
    "CALICO_IPV4POOL_VXLAN": "Always",
    # Built without libbpf: Felix must not try to clean up or load BPF programs.
    "FELIX_DebugSkipCTLBCleanup": "true",
    "FELIX_XDPENABLED": "false",
    "FELIX_SERVICELOOPPREVENTION": "Reject",
}

# A packet that still has a Service's address after translation: kube-proxy does not know the Service yet. It would leave by the
# default route, and whoever answers there (a proxy's 404) keeps Prometheus' connection for good. Felix refuses it instead, also
# after a node's reboot. https://docs.tigera.io/calico/latest/reference/resources/felixconfig (serviceLoopPrevention)
SERVICE_LOOPS: Manifest = {
    "apiVersion": "crd.projectcalico.org/v1",
    "kind": "BGPConfiguration",
    "metadata": {"name": "default"},
    "spec": {"serviceClusterIPs": [{"cidr": SERVICE_SUBNET}]},
}


def install(ctx: StackContext) -> None:
    """Apply upstream's VXLAN manifest with the bundle's images."""
    manifests = load_manifests(ctx.bundle.manifest("calico", "calico-vxlan.yaml").read_text())
    for manifest in manifests:
        _patch(manifest, ctx)
    ctx.kube.apply_all([*manifests, SERVICE_LOOPS])


def _patch(manifest: Manifest, ctx: StackContext) -> None:
    if manifest["kind"] not in {"DaemonSet", "Deployment"}:
        return
    spec = manifest["spec"]["template"]["spec"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        image = str(container["image"])
        for part, name in (("/node:", "calico-node"), ("/cni:", "calico-cni")):
            if part in image:
                container["image"] = ctx.bundle.image(name)
        if "/kube-controllers:" in image:
            container["image"] = ctx.bundle.image("calico-kube-controllers")
        if container["name"] == "calico-node":
            set_env(container, {**SETTINGS, "CALICO_IPV4POOL_CIDR": ctx.cluster.pod_subnet})
            container["resources"] = {"requests": {"cpu": "50m"}}


def healthy(ctx: StackContext) -> str:
    """Empty when the agent runs on every node and every node is Ready."""
    missing = workloads_ready(ctx.kube, "kube-system", "calico-node", "calico-kube-controllers")
    waiting = [
        n["metadata"]["name"]
        for n in ctx.kube.list("Node")
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", []))
    ]
    return missing or (f"nodes not Ready: {', '.join(waiting)}" if waiting else "")


COMPONENT = Component("calico", install, healthy, version=lambda ctx: ctx.bundle.versions["calico"])
