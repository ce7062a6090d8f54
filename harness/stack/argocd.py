"""Argo CD: upstream's manifest; told of pushes by webhook, and polling as the fallback."""

from __future__ import annotations

from harness.kube import Manifest, load_manifests
from harness.stack.base import Component, StackContext, set_env, workloads_ready

NAMESPACE = "argocd"
WEBHOOK_PORT = 30080
POLL_S = 30
UNUSED = {"argocd-dex-server", "argocd-notifications-controller", "argocd-applicationset-controller"}


def install(ctx: StackContext) -> None:
    """Apply upstream's manifest, patched, with the Git server's credentials."""
    manifests = load_manifests(ctx.bundle.manifest("argocd", "install.yaml").read_text())
    for manifest in manifests:
        _patch(manifest, ctx)
    namespace: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    ctx.kube.apply_all([namespace, *manifests, _webhook_service(), _credentials(ctx)])


def _patch(manifest: Manifest, ctx: StackContext) -> None:
    meta = manifest["metadata"]
    if manifest["kind"] not in {"ClusterRole", "CustomResourceDefinition"}:
        meta["namespace"] = NAMESPACE
    if manifest["kind"] in {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}:
        meta.pop("namespace", None)
    if meta["name"] == "argocd-cmd-params-cm":
        manifest["data"] = {
            **(manifest.get("data") or {}),
            "server.insecure": "true",
            "controller.status.processors": "4",
            "controller.operation.processors": "4",
        }
    if meta["name"] == "argocd-cm":
        manifest["data"] = {
            **(manifest.get("data") or {}),
            "timeout.reconciliation": f"{POLL_S}s",
            "timeout.reconciliation.jitter": "0s",
        }
    if manifest["kind"] in {"Deployment", "StatefulSet"}:
        if meta["name"] in UNUSED:
            manifest["spec"]["replicas"] = 0
        pod = manifest["spec"]["template"]["spec"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            redis = "redis" in container["image"]
            container["image"] = ctx.bundle.image("redis" if redis else "argocd")
            container["imagePullPolicy"] = "IfNotPresent"
            if redis:
                container["command"] = ["redis-server"]
            else:
                set_env(container, {"ARGOCD_GPG_ENABLED": "false"})


def _webhook_service() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "argocd-server-nodeport", "namespace": NAMESPACE},
        "spec": {
            "type": "NodePort",
            "selector": {"app.kubernetes.io/name": "argocd-server"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": WEBHOOK_PORT}],
        },
    }


def _credentials(ctx: StackContext) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "git-credentials",
            "namespace": NAMESPACE,
            "labels": {"argocd.argoproj.io/secret-type": "repo-creds"},
        },
        "stringData": {
            "type": "git",
            "url": ctx.facts["git_url"],
            "username": ctx.facts["git_user"],
            "password": ctx.facts["git_password"],
        },
    }


def healthy(ctx: StackContext) -> str:
    """Empty when the controller, the repo server, the API server and Redis are ready."""
    return workloads_ready(
        ctx.kube,
        NAMESPACE,
        "argocd-application-controller",
        "argocd-repo-server",
        "argocd-server",
        "argocd-redis",
    )


COMPONENT = Component(
    "argocd", install, healthy, needs=("calico", "coredns"), version=lambda ctx: ctx.bundle.versions["argocd"]
)
