"""What cannot be done to an attached cluster, said before the run; and the least rights that what can be done needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from harness.clusters._node_pod import NAMESPACE
from harness.clusters.base import Cluster
from harness.faults._model import Fault
from harness.faults._rights import rules
from harness.faults.lease import NAME as LEASE
from harness.faults.lease import NAMESPACE as LEASE_NAMESPACE
from harness.kube import Manifest
from harness.stack.argocd import NAMESPACE as ARGOCD

if TYPE_CHECKING:
    from harness.config import AttachedConfig

RBAC = "rbac.authorization.k8s.io/v1"
ACCOUNT = "resilience-harness"
READ = (
    "get,list,watch pods",
    "get,list,watch services",
    "get,list,watch endpoints",
    "get,list,watch events",
    "get,list,watch configmaps",
    "get,list,watch serviceaccounts",
    "get,list,watch namespaces",
    "get,list,watch deployments.apps",
    "get,list,watch statefulsets.apps",
    "get,list,watch daemonsets.apps",
    "get,list,watch replicasets.apps",
    "get,list,watch endpointslices.discovery.k8s.io",
    "get,list,watch ingresses.networking.k8s.io",
    "get,list,watch networkpolicies.networking.k8s.io",
    "get,list,watch networkpolicies.crd.projectcalico.org",
    "get,list,watch poddisruptionbudgets.policy",
    "get,list,watch horizontalpodautoscalers.autoscaling",
    "get,list,watch applications.argoproj.io",
)
READ_CLUSTER = (
    "get,list,watch nodes",
    "get,list,watch validatingadmissionpolicies.admissionregistration.k8s.io",
    "get,list,watch validatingadmissionpolicybindings.admissionregistration.k8s.io",
)
DEPLOY = ("create,patch secrets",)  # the certificate of a Boutique's host


def impossible(kind: type[Fault], wanted: AttachedConfig) -> str:
    """Why a fault cannot be on an attached cluster; empty when it can."""
    if "servers" in kind.needs:
        return f"{kind.name}: the servers beside an attached cluster are not ours"
    if "power" in kind.needs:
        return f"{kind.name}: an attached cluster's nodes have no power switch"
    if "ssh" in kind.needs:
        return f"{kind.name}: takes away what a node of an attached cluster is entered by"
    if "node" in kind.needs and not wanted.nodes:
        return f"{kind.name}: needs a way onto a node, and attached.nodes is empty"
    cluster = Cluster("attached", wanted.kubeconfig, (), namespaces=wanted.namespaces)
    aimed = [f.default for f in dataclasses.fields(kind) if f.name == "target"]
    namespace = getattr(aimed[0], "namespace", "") if aimed else ""
    if namespace and not cluster.allows(namespace):
        return f"{kind.name}: aims at namespace {namespace}, which is not in attached.namespaces"
    return ""


def why_not(test: Callable[..., Any], wanted: AttachedConfig) -> str:
    """Why a scenario cannot be told on an attached cluster; empty when it can."""
    if "retag_frontend" in test.__code__.co_names:
        return "publishes an image, and the registry of an attached cluster is not ours"
    return next(filter(None, (impossible(kind, wanted) for kind in faults_of(test))), "")


def faults_of(test: Callable[..., Any]) -> Iterator[type[Fault]]:
    """The faults that a scenario names: its code says what it does, so no marker has to repeat it."""
    for name in test.__code__.co_names:
        kind = test.__globals__.get(name)
        if isinstance(kind, type) and issubclass(kind, Fault):
            yield kind


def role(kinds: list[type[Fault]], namespaces: list[str]) -> list[Manifest]:
    """A service account and the least rights that these faults need.

    Args:
        kinds: the faults that shall be possible.
        namespaces: those of the allow-list that exist; rights to change things are given in them only.
    """
    api = [text for kind in kinds for text in kind.api]
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    found = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}},
        *_bound(
            [
                *rules(READ, cluster_wide=False),
                *rules([*READ_CLUSTER, *api], cluster_wide=True),
            ]
        ),
        *_bound(
            [
                {**lease, "verbs": ["create"]},
                {**lease, "resourceNames": [LEASE], "verbs": ["get", "update", "delete"]},
            ],
            LEASE_NAMESPACE,
        ),
        *_bound(rules(["create,patch,delete applications.argoproj.io"], cluster_wide=False), ARGOCD, "deploy"),
    ]
    for namespace in namespaces:
        found += _bound(rules([*DEPLOY, *api], cluster_wide=False), namespace)
    if any("node" in kind.needs for kind in kinds):
        found += _bound(rules(["create,delete pods", "create,get pods/exec"], cluster_wide=False), NAMESPACE)
    return found


def _bound(allowed: list[dict[str, Any]], namespace: str = "", suffix: str = "") -> list[Manifest]:
    """A role of that namespace (of the cluster without one), bound to our account."""
    kind = "Role" if namespace else "ClusterRole"
    name = "-".join(part for part in (ACCOUNT, suffix) if part)
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    return [
        {"apiVersion": RBAC, "kind": kind, "metadata": meta, "rules": allowed},
        {"apiVersion": RBAC, "kind": f"{kind}Binding", "metadata": meta, "subjects": [subject], "roleRef": reference},
    ]
