"""One Online Boutique: a namespace, a Git repository, an Argo CD Application. It is deployed by pushing to Git, only.

Every Boutique has a repository of its own, so that pushes of parallel workers never race.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness._clock import CLOCK
from harness._errors import DeployError
from harness._run import run
from harness._wait import Budget, wait_for
from harness.env import Env
from harness.kube import Kube, Manifest, load_manifests
from harness.platform.ca import issue
from harness.stack.argocd import NAMESPACE as ARGOCD_NAMESPACE
from harness.stack.base import DEPLOY_DIR, workloads_ready

ENV_LABEL = (
    "resilience-harness/env"  # on what an environment deploys, so that it can be removed from a cluster that stays
)
SYNC_BUDGET = Budget(240, every_s=0.5)
REMOVE_BUDGET = Budget(180, every_s=1)
PUSH_TIMEOUT_S = 30.0
FRONTEND = "us-central1-docker.pkg.dev/google-samples/microservices-demo/frontend"
FIELD_MANAGER = "argocd-controller"
TOLD, NOT_TOLD = "Argo CD told by webhook", "webhook not delivered, Argo CD polls"  # what the repository's hook prints


@dataclass(frozen=True)
class Release:
    """What Git asks for: an overlay, a version that users can see, the frontend's image tag."""

    overlay: str = "stock"
    version: str = "1"
    frontend_tag: str = "v0.10.4"


@dataclass(frozen=True)
class Boutique:
    """One instance, by name (`a`, `gw0`, ...)."""

    env: Env
    name: str

    @property
    def namespace(self) -> str:
        """Its namespace; the alert rules look at `boutique.*`."""
        return f"boutique-{self.name}"

    @property
    def host(self) -> str:
        """The host name under which users reach it."""
        return f"{self.namespace}.test"

    @property
    def app(self) -> str:
        """The name of its Argo CD Application."""
        return self.namespace

    @property
    def repository(self) -> str:
        """The name of its Git repository."""
        return f"{self.namespace}.git"


@dataclass(frozen=True)
class Pushed:
    """A push that the Git server accepted: the revision, when (wall clock, seconds), and how Argo CD hears of it.

    `told_by` is `webhook` when Argo CD took the server's call, `poll` when it did not, `unknown` when the server said neither.
    """

    revision: str
    started_wall_s: float
    accepted_wall_s: float
    told_by: str = "unknown"


def remote_url(boutique: Boutique) -> str:
    """The repository as this machine reaches it."""
    state = boutique.env.load()
    return f"{state.get('git_remote') or 'http://127.0.0.1:{}/git'.format(state['git_port'])}/{boutique.repository}"


def cluster_url(boutique: Boutique) -> str:
    """The repository as Argo CD reaches it."""
    return f"{boutique.env.load()['git_url']}/{boutique.repository}"


def render_tree(folder: Path, boutique: Boutique, release: Release) -> None:
    """Write what Git shall hold: base, overlays, and the instance on top of one overlay."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    source = DEPLOY_DIR / "boutique"
    for part in ("base", "overlays"):
        shutil.rmtree(folder / part, ignore_errors=True)
        shutil.copytree(source / part, folder / part)
    engine = Environment(  # noqa: S701 - YAML, not HTML
        loader=FileSystemLoader(source / "instance"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    text = engine.get_template("kustomization.yaml.j2").render(
        namespace=boutique.namespace,
        host=boutique.host,
        overlay=release.overlay,
        version=release.version,
        frontend_tag=release.frontend_tag,
    )
    (folder / "instance").mkdir(exist_ok=True)
    (folder / "instance" / "kustomization.yaml").write_text(text)


def desired(boutique: Boutique, release: Release, kubectl: Path) -> list[Manifest]:
    """The manifests that Git asks for, rendered as Argo CD does."""
    with tempfile.TemporaryDirectory(prefix="rh-render-") as name:
        render_tree(Path(name), boutique, release)
        return load_manifests(run([str(kubectl), "kustomize", f"{name}/instance"], timeout_s=30).out)


def ensure_repository(boutique: Boutique) -> None:
    """Make the bare repository on our Git server, with a hook that tells Argo CD of every push.

    Raises:
        DeployError: the Git server is not ours (`git_remote`), and it has no such repository.
    """
    state = boutique.env.load()
    if state.get("git_remote"):
        _check_repository(boutique, state)
        return
    hook = (
        "#!/bin/sh\n# Tell Argo CD of the push, as a Git service's webhook does; polling is the fallback.\n"
        "while read -r old new ref; do\n"
        f'  body=\'{{"ref":"\'"$ref"\'","before":"\'"$old"\'","after":"\'"$new"\'",'
        f'"repository":{{"html_url":"{cluster_url(boutique).removesuffix(".git")}","default_branch":"main"}},'
        '"commits":[{"added":[],"removed":[],"modified":["instance/kustomization.yaml"]}]}\'\n'
        f"  curl -fsS -m 3 -H 'X-Gogs-Event: push' -H 'Content-Type: application/json' -d \"$body\" "
        f"{state['argocd_webhook']} >/dev/null 2>&1 && echo '{TOLD}' || echo '{NOT_TOLD}'\n"
        "done\n"
    )
    path = f"/srv/git/{boutique.repository}"
    script = (
        f"set -e; [ -d {path} ] || git init -q --bare -b main {path}; git -C {path} config http.receivepack true; "
        f"cat > {path}/hooks/post-receive; chmod 755 {path}/hooks/post-receive; chown -R www-data:www-data {path}"
    )
    run(
        ["docker", "exec", "-i", boutique.env.container("git"), "sh", "-c", script],
        timeout_s=20,
        stdin=hook,
        where="Git server",
        fix="harness up",
    )


def _check_repository(boutique: Boutique, state: dict[str, Any]) -> None:
    import httpx

    url = remote_url(boutique)
    ask = f"{url}/info/refs?service=git-receive-pack"
    try:
        answer = httpx.get(ask, auth=(state["git_user"], state["git_password"]), timeout=PUSH_TIMEOUT_S)
        last: object = None if answer.is_success else f"status {answer.status_code}"
    except httpx.TransportError as err:
        last = repr(err)
    if last:
        fix = "make it: empty, branch main, and let attached.git_user push to it"
        raise DeployError("no Git repository for this Boutique", where=url, last=last, fix=fix)


def push(boutique: Boutique, release: Release, message: str) -> Pushed:
    """Commit what `release` asks for and push it; returns when the server accepted it.

    Raises:
        DeployError: the server refused the push or cannot be reached.
    """
    import urllib3
    from dulwich import porcelain
    from dulwich.errors import GitProtocolError

    state = boutique.env.load()
    account = {"username": state.get("git_user", "harness"), "password": state["git_password"]}
    url = remote_url(boutique)
    with tempfile.TemporaryDirectory(prefix="rh-git-") as name, redirect_stdout(io.StringIO()):
        sink = io.BytesIO()
        try:
            repo = porcelain.clone(url, name, errstream=sink, checkout=True, **account)
            render_tree(Path(name), boutique, release)
            porcelain.add(repo, [str(p) for p in Path(name).rglob("*") if p.is_file() and ".git" not in p.parts])
            author = b"Resilience harness <harness@resilience.test>"
            commit = porcelain.commit(repo, message.encode(), author=author, committer=author)
            started_s = CLOCK.wall()
            porcelain.push(repo, url, b"HEAD:refs/heads/main", errstream=sink, outstream=sink, **account)
            accepted_s = CLOCK.wall()
            repo.close()
        except (GitProtocolError, OSError, urllib3.exceptions.HTTPError, porcelain.Error) as err:
            raise DeployError(
                "the Git server refused the push",
                where=f"repository {boutique.repository}",
                last=repr(err)[:300],
                fix="harness status; is the Git server up, are its credentials those of this environment?",
            ) from err
    said = sink.getvalue().decode(errors="replace")
    told_by = "webhook" if TOLD in said else "poll" if NOT_TOLD in said else "unknown"
    return Pushed(commit.decode(), started_s, accepted_s, told_by)


def ensure_application(boutique: Boutique, kube: Kube) -> None:
    """Make the namespace, the TLS secret and the Argo CD Application (automated, prune, self-heal, server-side apply)."""
    if kube.get("Namespace", boutique.namespace) is None:
        meta = {"name": boutique.namespace, "labels": {ENV_LABEL: boutique.env.name}}
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    kube.apply(issue(boutique.env, boutique.host, boutique.namespace, "boutique-tls"))
    kube.apply(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {
                "name": boutique.app,
                "namespace": ARGOCD_NAMESPACE,
                "labels": {ENV_LABEL: boutique.env.name},
                "finalizers": ["resources-finalizer.argocd.argoproj.io"],
            },
            "spec": {
                "project": "default",
                "source": {"repoURL": cluster_url(boutique), "path": "instance", "targetRevision": "main"},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": boutique.namespace},
                "syncPolicy": {
                    "automated": {"prune": True, "selfHeal": True},
                    "syncOptions": ["ServerSideApply=true", "CreateNamespace=false"],
                },
            },
        }
    )


def app_state(boutique: Boutique, kube: Kube) -> dict[str, Any]:
    """What Argo CD says of the Application: sync, health, revision, operation phase and message."""
    live = kube.get("Application", boutique.app, ARGOCD_NAMESPACE, "argoproj.io/v1alpha1") or {}
    status = live.get("status") or {}
    operation = status.get("operationState") or {}
    return {
        "sync": (status.get("sync") or {}).get("status"),
        "health": (status.get("health") or {}).get("status"),
        "revision": (status.get("sync") or {}).get("revision"),
        "operation": operation.get("phase"),
        "message": operation.get("message") or "; ".join(c.get("message", "") for c in status.get("conditions") or []),
    }


def deploy(boutique: Boutique, kube: Kube, release: Release, message: str, budget: Budget = SYNC_BUDGET) -> Pushed:
    """Push `release` and wait until Argo CD synced that very revision and all workloads are ready.

    Raises:
        DeployError: the push was refused.
        WaitTimeout: the revision was not live in time; carries what Argo CD and the workloads last said.
    """
    ensure_repository(boutique)
    pushed = push(boutique, release, message)
    ensure_application(boutique, kube)
    wait_live(boutique, kube, pushed.revision, budget)
    return pushed


def wait_live(boutique: Boutique, kube: Kube, revision: str, budget: Budget = SYNC_BUDGET) -> None:
    """Wait until that revision is synced and every workload in the namespace is ready."""

    def look() -> str:
        state = app_state(boutique, kube)
        if state["revision"] != revision or state["sync"] != "Synced":
            return (
                f"Argo CD: {state['sync']} {str(state['revision'])[:8]} {state['operation']} {state['message'][:200]}"
            )
        return workloads_ready(kube, boutique.namespace)

    wait_for(
        f"{boutique.namespace} live at {revision[:8]}",
        look,
        lambda missing: missing == "",
        budget,
        fix="harness status; look at the Application in Argo CD",
    )


def remove(boutique: Boutique, kube: Kube) -> None:
    """Remove the Application with all it deployed, and the namespace."""
    kube.delete("Application", boutique.app, ARGOCD_NAMESPACE, api_version="argoproj.io/v1alpha1")
    kube.delete("Namespace", boutique.namespace)


def remove_deployed(env: Env, kube: Kube) -> None:
    """Remove every Boutique that an environment deployed, and the namespaces that it made; wait until they are gone."""
    mine = f"{ENV_LABEL}={env.name}"
    kinds = (("Application", ARGOCD_NAMESPACE, "argoproj.io/v1alpha1"), ("Namespace", None, "v1"))

    def there(kind: str, namespace: str | None, version: str) -> list[str]:
        return [m["metadata"]["name"] for m in kube.list(kind, namespace, labels=mine, api_version=version)]

    for kind, namespace, version in kinds:
        for name in there(kind, namespace, version):
            kube.delete(kind, name, namespace, api_version=version)
        wait_for(
            f"{kind}s of {env.name} gone",
            lambda place=(kind, namespace, version): there(*place),  # type: ignore[misc]
            lambda names: not names,
            REMOVE_BUDGET,
            fix="look at their finalizers; is Argo CD up?",
        )


def retag_frontend(env: Env, tag: str) -> None:
    """Publish the frontend's image under a new tag, as a CI pipeline does when it has built one.

    Raises:
        DeployError: the registry does not take it.
    """
    import httpx

    base = f"http://127.0.0.1:{env.load()['registry_port']}/v2/google-samples/microservices-demo/frontend/manifests"
    kinds = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
    try:
        found = httpx.get(f"{base}/v0.10.4", headers={"Accept": kinds}, timeout=PUSH_TIMEOUT_S).raise_for_status()
        kind = found.headers["Content-Type"]
        httpx.put(
            f"{base}/{tag}", content=found.content, headers={"Content-Type": kind}, timeout=PUSH_TIMEOUT_S
        ).raise_for_status()
    except httpx.HTTPError as err:
        raise DeployError("the registry did not take the new tag", where=tag, last=err, fix="harness status") from err


__all__ = [
    "Boutique",
    "Pushed",
    "Release",
    "app_state",
    "deploy",
    "desired",
    "push",
    "remove",
    "retag_frontend",
    "wait_live",
]
