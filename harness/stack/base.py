"""The stack: what a component is, and how all of them are installed, concurrently, each behind a health gate.

A component is one file in this package with a module-level `COMPONENT`. Its manifests are Jinja templates of our own in
`deploy/stack/<name>/`, or upstream's from the bundle, patched here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness._errors import FatalState, HarnessError, WaitTimeout
from harness._progress import Show
from harness._wait import Budget, wait_for
from harness.clusters.base import Cluster
from harness.env import Env
from harness.kube import Kube, Manifest, load_manifests

if TYPE_CHECKING:
    from harness.bundle import Bundle
    from harness.judge.profiles import Profile

DEPLOY_DIR = Path(__file__).parents[2] / "deploy"
COMPONENT_BUDGET = Budget(240, every_s=0.5)


@dataclass(frozen=True)
class StackContext:
    """What a component gets: the environment, the API, the bundle, the cluster, the profile, and facts.

    `facts` holds addresses: `receiver_url` (from inside the cluster), `vip_pool` (MetalLB range), `git_url`, ...
    """

    env: Env
    kube: Kube
    bundle: Bundle
    cluster: Cluster
    profile: Profile
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Component:
    """One piece of the platform.

    Args:
        name: its name, also that of its folder in `deploy/stack`.
        install: applies it; must be idempotent.
        healthy: empty text when it serves, otherwise what is missing, for humans.
        needs: components that must be healthy before it is installed.
        optional: when its image is not in the bundle it is reported as absent instead of failing.
        version: the version that is installed.
    """

    name: str
    install: Callable[[StackContext], None]
    healthy: Callable[[StackContext], str]
    needs: tuple[str, ...] = ()
    optional: bool = False
    version: Callable[[StackContext], str] = lambda ctx: ""


def components() -> dict[str, Component]:
    """All components, by name: every module of this package that has a `COMPONENT`."""
    import harness.stack as package

    found: dict[str, Component] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        component = getattr(module, "COMPONENT", None)
        if component is not None:
            found[component.name] = component
    return found


def render(component: str, **values: Any) -> list[Manifest]:
    """The manifests in `deploy/stack/<component>/*.yaml.j2`, rendered with `values`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = DEPLOY_DIR / "stack" / component
    engine = Environment(  # noqa: S701 - YAML, not HTML
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    manifests: list[Manifest] = []
    for path in sorted(folder.glob("*.yaml.j2")):
        manifests += load_manifests(engine.get_template(path.name).render(**values))
    return manifests


def set_env(container: Manifest, values: dict[str, str]) -> None:
    """Set environment variables of a container in a manifest, replacing those of the same name."""
    kept = [e for e in container.get("env", []) if e["name"] not in values]
    container["env"] = [*kept, *({"name": k, "value": v} for k, v in values.items())]


def workloads_ready(kube: Kube, namespace: str, *names: str) -> str:
    """Empty when every Deployment, StatefulSet and DaemonSet (of those names) is ready, otherwise what is missing."""
    missing: list[str] = []
    seen: set[str] = set()
    for kind, want_key, have_key in (
        ("Deployment", "replicas", "availableReplicas"),
        ("StatefulSet", "replicas", "readyReplicas"),
        ("DaemonSet", "desiredNumberScheduled", "numberReady"),
    ):
        for item in kube.list(kind, namespace, api_version="apps/v1"):
            name, status = item["metadata"]["name"], item.get("status", {})
            if names and name not in names:
                continue
            seen.add(name)
            want = status.get(want_key, 0) if kind == "DaemonSet" else item["spec"].get("replicas", 1)
            have = status.get(have_key) or 0
            stale = status.get("observedGeneration", 0) < item["metadata"].get("generation", 0)
            updated = status.get("updatedReplicas", have) if kind == "Deployment" else have
            # Pods of the old revision still serve while those of the new one do not: that is no finished rollout.
            old = kind == "Deployment" and status.get("replicas", 0) > updated
            if stale or old or have < want or updated < want or (kind == "DaemonSet" and want == 0):
                missing.append(f"{name} {have}/{want}")
    missing += [f"{name} not created" for name in names if name not in seen]
    if not names and not seen:
        missing.append(f"nothing in {namespace} yet")
    return ", ".join(missing)


def install_all(ctx: StackContext, show: Show, *, only: Iterable[str] | None = None) -> dict[str, str]:
    """Install components as soon as what they need is healthy; return what each one is: a version or `absent: why`.

    Raises:
        HarnessError: a component did not become healthy; carries what it last said.
    """
    todo = {n: c for n, c in components().items() if only is None or n in only}
    states: dict[str, str] = {}
    running: dict[Future[str], str] = {}
    with ThreadPoolExecutor(max_workers=len(todo) or 1, thread_name_prefix="stack") as pool:
        try:
            while todo or running:
                for name in [n for n, c in todo.items() if all(d in states for d in c.needs)]:
                    running[pool.submit(_bring_up, todo.pop(name), ctx, show)] = name
                if not running:
                    raise HarnessError("the stack has a circle in its needs", last=", ".join(todo))
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    states[running.pop(future)] = future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return states


def _bring_up(component: Component, ctx: StackContext, show: Show) -> str:
    if component.optional and not ctx.bundle.has(component.name.replace("_", "-")):
        show.say(f"{component.name}: absent from the bundle (optional)")
        return "absent: not in the bundle"
    with show.step(f"stack: {component.name}") as step:
        component.install(ctx)
        try:
            wait_for(
                f"{component.name} healthy",
                lambda: _health(component, ctx),
                lambda missing: missing == "",
                COMPONENT_BUDGET,
                on_poll=step.note,
                fix="harness status; kubectl describe the workload named",
            )
        except (WaitTimeout, FatalState):
            if not component.optional:
                raise
            return "absent: did not become healthy"
    return component.version(ctx) or "installed"


def _health(component: Component, ctx: StackContext) -> str:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return component.healthy(ctx)
    except (ApiException, HTTPError, OSError) as err:
        return f"cannot ask: {type(err).__name__} {str(err)[:120]}"
