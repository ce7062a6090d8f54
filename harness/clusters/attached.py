"""Provider `attached`: a cluster that exists. It is used only when it carries our opt-in label, and left as it was.

Nothing is installed: the components are found (or their addresses are configured), and what is not possible here is
skipped before the run (`_possible.py`).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from harness._errors import ClusterError, HarnessError, UsageError
from harness._progress import Step
from harness._run import run
from harness.clusters._discover import discover
from harness.clusters._node_pod import LABEL, NAMESPACE, NodePods, PodNode
from harness.clusters.base import Cluster, Node
from harness.env import Env
from harness.kube import Kube, Manifest
from harness.stack.argocd import NAMESPACE as ARGOCD

if TYPE_CHECKING:
    from harness.bundle import Bundle
    from harness.config import AttachedConfig, Config

OPT_IN = "resilience-harness/opt-in"
TOOLS = ("kubernetes", "nodetool")  # the bundle's components that are needed here: no image, only programs
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
FILES = {"certificate-authority": "certificate-authority-data", "client-certificate": "client-certificate-data"}
USER_FILES = {**FILES, "client-key": "client-key-data"}


def up(env: Env, bundle: Bundle, registry_url: str, config: Config, step: Step) -> Cluster:
    """Find out where everything is, and write it down; the cluster itself is not changed.

    Args:
        env: the environment.
        bundle: not used: nothing is installed.
        registry_url: not used.
        config: kubeconfig, context, allow-list, addresses.
        step: told what is going on.

    Raises:
        ClusterError: no opt-in (says how to give it), or a component that is needed cannot be reached.
        UsageError: the configuration lacks an address, or names what is not there.
    """
    wanted = config.attached
    kube = opted_in(env, wanted)
    step.note("finding its components")
    nodes = kube.list("Node")
    _check_nodes(wanted, nodes)
    urls, stack = discover(kube, wanted.addresses.model_dump(), _address(nodes))
    remembered = wanted.model_dump(mode="json", include={"namespaces", "nodes", "node_image"})
    attached = {**remembered, "kubectl": str(bundle.tool("kubectl"))}
    env.save(**_facts(wanted, urls), stack={**stack, **_versions(kube)}, attached=attached)
    return connect(env, config)


def _kubeconfig(env: Env) -> Path:
    """Our copy of the one context, mode 0600; never the file of a cluster that we made ourselves."""
    return env.state_dir / "attached.kubeconfig"


def opted_in(env: Env, wanted: AttachedConfig) -> Kube:
    """A connection to the cluster, if it carries our label; nothing else is asked or touched before."""
    _kubeconfig(env).touch(mode=0o600)
    _kubeconfig(env).write_text(yaml.safe_dump(one_context(wanted.kubeconfig, wanted.context)))
    kube = Kube(_kubeconfig(env))
    try:
        marker = kube.get("Namespace", NAMESPACE)
    except Exception as err:
        _kubeconfig(env).unlink()
        status = getattr(err, "status", None)
        raise ClusterError(
            "the cluster refuses these credentials" if status in (401, 403) else "the cluster does not answer",
            where=str(wanted.kubeconfig),
            last=f"{status} {getattr(err, 'reason', '')}" if status else repr(err)[:300],
            fix="kubectl get namespace with that kubeconfig; for the least rights: harness attached role",
        ) from err
    labels = (marker or {}).get("metadata", {}).get("labels") or {}
    if labels.get(OPT_IN) != "true":
        _kubeconfig(env).unlink()
        raise ClusterError(
            "this cluster has not been given to us to break: it lacks our opt-in label",
            where=f"{wanted.kubeconfig}, context {wanted.context or 'current'}",
            last=f"namespace {NAMESPACE} without label {OPT_IN}" if marker else f"no namespace {NAMESPACE}",
            fix=opt_in_command(wanted, exists=marker is not None),
        )
    return kube


def opt_in_command(wanted: AttachedConfig, *, exists: bool) -> str:
    """What an administrator runs to allow us in."""
    kubectl = f"kubectl --kubeconfig {wanted.kubeconfig}" + (f" --context {wanted.context}" if wanted.context else "")
    create = "" if exists else f"{kubectl} create namespace {NAMESPACE} && "
    return f"{create}{kubectl} label namespace {NAMESPACE} {OPT_IN}=true"


def one_context(file: Path, context: str) -> dict[str, Any]:
    """One context of a kubeconfig, with the files that it names put into it.

    Raises:
        UsageError: no such file or context.
    """
    if not file.is_file():
        raise UsageError("no such kubeconfig", where=str(file), fix="attached.kubeconfig, HARNESS_ATTACHED_KUBECONFIG")
    data = yaml.safe_load(file.read_text()) or {}
    name = context or data.get("current-context", "")
    contexts = {c["name"]: c["context"] for c in data.get("contexts") or []}
    if name not in contexts:
        known = ", ".join(contexts) or "none"
        raise UsageError(f"no context {name!r} in the kubeconfig", where=str(file), last=known, fix="attached.context")
    chosen = contexts[name]
    cluster = next(c["cluster"] for c in data["clusters"] if c["name"] == chosen["cluster"])
    user = next(u["user"] for u in data["users"] if u["name"] == chosen["user"])
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": chosen}],
        "clusters": [{"name": chosen["cluster"], "cluster": _inlined(cluster, FILES, file.parent)}],
        "users": [{"name": chosen["user"], "user": _inlined(user, USER_FILES, file.parent)}],
    }


def _inlined(part: dict[str, Any], files: dict[str, str], folder: Path) -> dict[str, Any]:
    kept = {k: v for k, v in part.items() if k not in files}
    return kept | {
        into: base64.b64encode((folder / part[key]).read_bytes()).decode() for key, into in files.items() if key in part
    }


def _check_nodes(wanted: AttachedConfig, nodes: list[Manifest]) -> None:
    known = [n["metadata"]["name"] for n in nodes]
    strangers = [n for n in wanted.nodes if n not in known]
    if strangers:
        raise UsageError(f"attached.nodes: no node is called {', '.join(strangers)}", last=", ".join(known))


def _address(nodes: list[Manifest]) -> str:
    """Where NodePorts answer: a control-plane node, if there is one, as faults leave it alone."""
    nodes = sorted(nodes, key=lambda n: CONTROL_PLANE not in n["metadata"].get("labels", {}))
    found = [a["address"] for n in nodes for a in n["status"].get("addresses", ()) if a["type"] == "InternalIP"]
    return str(found[0]) if found else ""


def _facts(wanted: AttachedConfig, urls: dict[str, str]) -> dict[str, Any]:
    """What the rest of the harness needs to know, under the names that the platform server uses."""
    given = wanted.addresses
    for key in ("ingress", "receiver", "git"):
        if not getattr(given, key):
            raise UsageError(f"attached.addresses.{key} is not set", fix="docs/how-to/use-an-existing-cluster.md")
    ingress = urlsplit(given.ingress)
    if ingress.scheme != "https" or ingress.hostname not in ("127.0.0.1", "localhost") or not ingress.port:
        raise UsageError(
            f"attached.addresses.ingress cannot be {given.ingress!r}",
            fix="https://127.0.0.1:PORT of a relay to the ingress: load never leaves this machine but through it",
        )
    return {
        **{f"{component}_api": url for component, url in urls.items()},
        "edge_port": ingress.port,
        "receiver_api": given.receiver.rstrip("/"),
        "git_remote": given.git.rstrip("/"),
        "git_url": (given.git_in_cluster or given.git).rstrip("/"),
        "git_user": wanted.git_user,
        "git_password": _password(wanted.git_password_file),
    }


def _password(file: Path | None) -> str:
    if file is None:
        return ""
    if not file.is_file():
        raise UsageError("no such file", where=str(file), fix="attached.git_password_file")
    if file.stat().st_mode & 0o077:
        raise UsageError("others can read the file with the password", where=str(file), fix=f"chmod 600 {file}")
    return file.read_text().strip()


def _versions(kube: Kube) -> dict[str, str]:
    """Kubernetes' own version, and the tags of the images that the workloads of the known components run."""
    if kube.get("Deployment", "argocd-server", ARGOCD, "apps/v1") is None:
        raise ClusterError("no Argo CD", where=f"namespace {ARGOCD}", fix="Boutique is deployed through Argo CD only")
    nodes = kube.list("Node")
    versions = {"kubernetes": nodes[0]["status"]["nodeInfo"]["kubeletVersion"]}
    wanted = ("prometheus", "alertmanager", "loki", "argocd-server")
    for kind in ("Deployment", "StatefulSet"):
        for live in kube.list(kind, api_version="apps/v1"):
            name = live["metadata"]["name"]
            found = next((w for w in wanted if name == w or name.startswith((f"{w}-main", f"{w}-k8s"))), "")
            if found:
                image = live["spec"]["template"]["spec"]["containers"][0]["image"]
                versions[found.removesuffix("-server")] = image.rpartition(":")[2]
    return versions


def connect(env: Env, config: Config) -> Cluster:
    """The cluster with the allow-list that it was attached with; raises `ClusterError` when it was not attached."""
    known = env.load().get("attached")
    if not _kubeconfig(env).exists() or not known:
        raise ClusterError("no cluster is attached", where=env.name, fix="harness up --provider attached")
    kubectl = (known["kubectl"], "--kubeconfig", str(_kubeconfig(env)))
    nodes = _nodes(env, known, kubectl)
    return Cluster("attached", _kubeconfig(env), nodes, namespaces=tuple(known["namespaces"]), kubectl=kubectl)


def _nodes(env: Env, known: dict[str, Any], kubectl: tuple[str, ...]) -> tuple[Node, ...]:
    """The nodes of the allow-list; others are not even known to the rest of the harness."""
    if not known["nodes"]:
        return ()
    kube = Kube(_kubeconfig(env))
    pods = NodePods(kube, known["node_image"])
    found = [n["metadata"] for n in kube.list("Node") if n["metadata"]["name"] in known["nodes"]]
    return tuple(
        PodNode(m["name"], "control-plane" if CONTROL_PLANE in m.get("labels", {}) else "worker", pods, kubectl)
        for m in sorted(found, key=lambda m: str(m["name"]))
    )


def down(env: Env) -> None:
    """Leave the cluster: remove the Boutiques that this environment deployed and our pods; keep all else."""
    from harness.boutique.deploy import ENV_LABEL, remove_deployed

    if _kubeconfig(env).exists():
        kube = Kube(_kubeconfig(env))
        try:
            for pod in kube.list("Pod", NAMESPACE, labels=LABEL):
                kube.delete("Pod", pod["metadata"]["name"], NAMESPACE, grace_s=0)
            remove_deployed(env, kube)
        except Exception as err:
            if isinstance(err, HarnessError):
                raise
            status, label = getattr(err, "status", None), f"-l {ENV_LABEL}={env.name}"
            by_hand = f"kubectl -n {ARGOCD} delete applications {label} && kubectl delete namespaces {label}"
            raise ClusterError(
                "what this environment left in the cluster could not be removed",
                where=f"label {ENV_LABEL}={env.name}",
                last=f"{status} {getattr(err, 'reason', '')}" if status else repr(err)[:300],
                fix=f"as an administrator: {by_hand}; then harness down again. "
                f"If that cluster is gone for good, remove {env.state_dir}",
            ) from err
    _kubeconfig(env).unlink(missing_ok=True)
    if env.load():
        env.save(stack={}, attached={})


def diagnose(env: Env, bundle: Bundle) -> Path:
    """Collect what the API tells of the allowed namespaces: workloads and events."""
    folder = env.state_dir / "diagnostics"
    folder.mkdir(exist_ok=True)
    command = [str(bundle.tool("kubectl")), "--kubeconfig", str(_kubeconfig(env)), "get", "-A", "-o", "json"]
    for kind in ("pods", "events"):
        shown = run([*command, kind], timeout_s=60, check=False)
        (folder / f"{kind}.json").write_text(json.dumps(json.loads(shown.out), indent=1) if shown.ok else shown.err)
    return folder
