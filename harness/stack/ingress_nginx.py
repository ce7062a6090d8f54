"""Ingress-NGINX behind a MetalLB address, with TLS and metrics; upstream's manifest without the admission webhook."""

from __future__ import annotations

from harness.kube import Manifest, load_manifests
from harness.stack.base import Component, StackContext, workloads_ready

NAMESPACE = "ingress-nginx"
DROPPED_KINDS = {"Job", "ValidatingWebhookConfiguration"}


def install(ctx: StackContext) -> None:
    """Apply upstream's manifest, patched."""
    manifests = [
        m
        for m in load_manifests(ctx.bundle.manifest("ingress-nginx", "deploy.yaml").read_text())
        if m["kind"] not in DROPPED_KINDS and "admission" not in m["metadata"]["name"]
    ]
    for manifest in manifests:
        _patch(manifest, ctx)
    manifests.append(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "ingress-nginx-metrics", "namespace": NAMESPACE},
            "spec": {
                "selector": {"app.kubernetes.io/component": "controller", "app.kubernetes.io/name": "ingress-nginx"},
                "ports": [{"name": "metrics", "port": 10254, "targetPort": 10254}],
            },
        }
    )
    ctx.kube.apply_all(manifests)


def _patch(manifest: Manifest, ctx: StackContext) -> None:
    if manifest["kind"] == "Service":
        annotations = manifest["metadata"].setdefault("annotations", {})
        annotations["metallb.universe.tf/loadBalancerIPs"] = ctx.facts["vip"]
        # With Cluster any node may answer for the address, so losing the pod's node is not also losing the address.
        manifest["spec"]["externalTrafficPolicy"] = "Cluster"
    if manifest["kind"] == "ConfigMap":
        manifest["data"] = {
            **(manifest.get("data") or {}),
            "worker-processes": "1",
            "keep-alive-requests": "10000",
            "upstream-keepalive-connections": "64",
            "proxy-connect-timeout": "2",
            "proxy-next-upstream": "error timeout",
            "proxy-next-upstream-tries": "2",
            "worker-shutdown-timeout": "5s",
        }
    if manifest["kind"] == "Deployment":
        pod = manifest["spec"]["template"]["spec"]
        pod["volumes"] = [v for v in pod.get("volumes", []) if v["name"] != "webhook-cert"]
        pod["tolerations"] = [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]
        for container in pod["containers"]:
            container["image"] = ctx.bundle.image("ingress-nginx-controller")
            container["args"] = [a for a in container["args"] if "validating-webhook" not in a and "metrics" not in a]
            container["args"] += ["--enable-metrics=true"]
            container["env"] = [e for e in container["env"] if e["name"] != "LD_PRELOAD"]
            container["ports"] = [p for p in container["ports"] if p["name"] != "webhook"]
            container["volumeMounts"] = [m for m in container.get("volumeMounts", []) if m["name"] != "webhook-cert"]
            container["resources"] = {"requests": {"cpu": "20m", "memory": "90Mi"}}


def healthy(ctx: StackContext) -> str:
    """Empty when the controller is ready and its Service has the wanted address."""
    missing = workloads_ready(ctx.kube, NAMESPACE, "ingress-nginx-controller")
    if missing:
        return missing
    service = ctx.kube.get("Service", "ingress-nginx-controller", NAMESPACE) or {}
    given = [i.get("ip") for i in service.get("status", {}).get("loadBalancer", {}).get("ingress") or []]
    return "" if ctx.facts["vip"] in given else f"no address from MetalLB yet (wanted {ctx.facts['vip']}, has {given})"


COMPONENT = Component(
    "ingress-nginx",
    install,
    healthy,
    needs=("calico", "coredns", "metallb"),
    version=lambda ctx: ctx.bundle.versions["ingress-nginx"],
)
