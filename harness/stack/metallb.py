"""MetalLB in L2 mode: upstream's native manifest, one address pool on the environment's network."""

from __future__ import annotations

from harness.kube import load_manifests
from harness.stack.base import Component, StackContext, workloads_ready

NAMESPACE = "metallb-system"


def install(ctx: StackContext) -> None:
    """Apply upstream's manifest with the bundle's images."""
    manifests = load_manifests(ctx.bundle.manifest("metallb", "metallb-native.yaml").read_text())
    for manifest in manifests:
        if manifest["kind"] in {"Deployment", "DaemonSet"}:
            for container in manifest["spec"]["template"]["spec"]["containers"]:
                container["image"] = ctx.bundle.image(f"metallb-{container['name']}")
    ctx.kube.apply_all(manifests)


def healthy(ctx: StackContext) -> str:
    """Empty when the controller and all speakers are ready and the address pool is accepted."""
    missing = workloads_ready(ctx.kube, NAMESPACE, "controller", "speaker")
    if missing:
        return missing
    from kubernetes.client.exceptions import ApiException

    api = "metallb.io/v1beta1"
    pool = {
        "apiVersion": api,
        "kind": "IPAddressPool",
        "metadata": {"name": "harness", "namespace": NAMESPACE},
        "spec": {"addresses": [ctx.facts["vip_pool"]]},
    }
    advertisement = {
        "apiVersion": api,
        "kind": "L2Advertisement",
        "metadata": {"name": "harness", "namespace": NAMESPACE},
        "spec": {"ipAddressPools": ["harness"]},
    }
    try:
        ctx.kube.apply_all([pool, advertisement])
    except ApiException as err:
        return f"address pool not accepted yet: {err.reason}"  # its webhook needs a moment
    return ""


COMPONENT = Component(
    "metallb", install, healthy, needs=("calico", "coredns"), version=lambda ctx: ctx.bundle.versions["metallb"]
)
