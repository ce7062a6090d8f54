"""From nothing to a platform that is healthy: machine, bundle, platform server, cluster, stack. Idempotent throughout."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock

from harness._errors import ClusterError, HarnessError, UsageError
from harness._progress import Show
from harness.clusters.base import Cluster, Provider
from harness.env import Env
from harness.kube import Kube

if TYPE_CHECKING:
    from harness.bundle import Bundle
    from harness.config import Config
    from harness.judge.profiles import Profile
    from harness.stack.base import StackContext

PROVISION_LOCK_S = 5400


@dataclass(frozen=True)
class Platform:
    """Everything a scenario needs of a platform that is up."""

    env: Env
    cluster: Cluster
    kube: Kube
    bundle: Bundle
    profile: Profile
    facts: dict[str, Any]

    def url(self, component: str) -> str:
        """The API of `prometheus`, `alertmanager` or `loki` as this machine reaches it; empty when it is absent."""
        if f"{component}_api" in self.facts:
            return str(self.facts[f"{component}_api"])
        from harness.stack import _monitoring as monitoring

        return monitoring.node_url(self.kube, monitoring.PORTS[component])

    @property
    def receiver_url(self) -> str:
        """The receiver as this machine reaches it."""
        return str(self.facts.get("receiver_api") or f"http://127.0.0.1:{self.facts['receiver_port']}")


def provider_of(name: str) -> Provider:
    """The module of that provider."""
    from harness.config import PROVIDERS

    if name not in PROVIDERS:
        raise UsageError(f"no provider is called {name!r}", fix=f"one of {', '.join(PROVIDERS)}")
    try:
        return cast(Provider, importlib.import_module(f"harness.clusters.{name}"))
    except ModuleNotFoundError as err:
        raise UsageError(f"the provider {name} is not in this version", last=err) from err


def up(env: Env, show: Show, config: Config | None = None) -> Platform:
    """Make or reuse everything; safe to run again after any failure or Ctrl-C.

    Args:
        env: the environment.
        show: the progress display.
        config: what is wanted; read from `harness.toml` and the variables when not given.

    Raises:
        HarnessError: what failed, where, what was last seen, what to try.
    """
    from harness import bundle as bundles
    from harness.config import load
    from harness.judge.profiles import profile as find_profile
    from harness.platform import server
    from harness.setup import ensure_machine
    from harness.stack.argocd import WEBHOOK_PORT
    from harness.stack.base import StackContext

    config = config or load()
    profile, provider = find_profile(config.profile), provider_of(config.provider)
    with FileLock(env.state_dir / "provision.lock", timeout=PROVISION_LOCK_S):
        _same_provider(env, config.provider)
        if config.provider == "attached":
            return _found(env, show, config)
        ensure_machine(show)
        bundle = bundles.ensure(show=show, source=config.source)
        env.save(provider=config.provider)
        with show.step("platform server: network, registry, Git, receiver, edge"):
            machines = config.kubeadm if config.provider == "kubeadm" else None
            at, pool = (machines.server_address, machines.vip_pool) if machines else ("", "")
            facts = server.up(env, bundle, at=at, pool=pool)
        with show.step(f"cluster: {config.provider}") as step:
            cluster = provider.up(env, bundle, facts["registry_url"], config, step)
        facts |= cluster.facts
        kube = Kube(cluster.kubeconfig)
        first_node = kube.list("Node", labels="node-role.kubernetes.io/control-plane")[0]
        address = next(a["address"] for a in first_node["status"]["addresses"] if a["type"] == "InternalIP")
        facts["node_address"] = address
        facts["argocd_webhook"] = f"http://{address}:{WEBHOOK_PORT}/api/webhook"
        saved = {**cluster.facts, "node_address": address, "argocd_webhook": facts["argocd_webhook"]}
        env.save(**saved, profile=profile.name)
        stack = _install(StackContext(env, kube, bundle, cluster, profile, facts), provider, show)
        env.save(stack=stack)
    return Platform(env, cluster, kube, bundle, profile, facts)


def _found(env: Env, show: Show, config: Config) -> Platform:
    """A platform that somebody else has made: nothing is installed."""
    from harness import bundle as bundles
    from harness.clusters import attached

    with show.step("cluster: attached") as step:
        attached.opted_in(env, config.attached)
        bundle = bundles.ensure(show=show, source=config.source, only=attached.TOOLS)
        env.save(provider=config.provider, profile=config.profile)
        attached.up(env, bundle, "", config, step)
    return attach(env)


def _same_provider(env: Env, wanted: str) -> None:
    """An environment belongs to the provider that made it, until it is taken down."""
    made_by = env.load().get("provider") or wanted
    if made_by != wanted:
        raise UsageError(
            f"this environment was made by the provider {made_by}, not {wanted}",
            where=env.name,
            fix=f"harness --env {env.name} down first, or choose another environment (--env, HARNESS_ENV)",
        )


def _install(ctx: StackContext, provider: Provider, show: Show) -> dict[str, str]:
    """Install the stack; a failure names the folder in which the evidence is."""
    from harness.stack.base import install_all

    try:
        return install_all(ctx, show)
    except Exception as err:
        if not isinstance(err, HarnessError):
            # The API answers late or not at all on a machine that is too busy.
            err = ClusterError("the stack could not be installed", last=repr(err)[:300], fix="harness up again")
        folder = provider.diagnose(ctx.env, ctx.bundle)
        err.fix = "; ".join(part for part in (err.fix, f"journals and pod logs are in {folder}") if part)
        raise err


def attach(env: Env) -> Platform:
    """The platform that is up, without changing anything.

    Raises:
        ClusterError: it is not up.
    """
    from harness import bundle as bundles
    from harness.clusters import attached
    from harness.config import load
    from harness.judge.profiles import profile as find_profile

    state = env.load()
    if not state.get("stack"):
        raise ClusterError("the platform is not up", where=env.name, fix="harness up")
    cluster = provider_of(state["provider"]).connect(env, load())
    only = attached.TOOLS if state["provider"] == "attached" else None
    facts = {"git_user": "harness", **state, **cluster.facts}
    bundle = bundles.open_bundle(only)
    return Platform(env, cluster, Kube(cluster.kubeconfig), bundle, find_profile(state["profile"]), facts)


def down(env: Env, show: Show) -> None:
    """Remove the cluster, the platform server and the network; the bundle stays."""
    from harness.platform import server

    with show.step(f"removing environment {env.name}"):
        provider = env.load().get("provider") or "kind"
        provider_of(provider).down(env)
        if provider != "attached":
            server.down(env)
        _forget(env, faults=provider != "attached")


def _forget(env: Env, *, faults: bool) -> None:
    """Drop what is known of a cluster that is gone; with `faults` also those that were on: they went with it.

    Diagnostics and calibrations stay; where there are none, the folder goes, too.
    """
    gone = {"state.json", "kubeconfig", "kind.yaml", "ca.pem", "ca.key", "certs.d"}
    if faults:
        gone |= {"journal", "deadman"}
    for path in list(env.state_dir.iterdir()):
        if path.name in gone:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if all(path.suffix == ".lock" for path in env.state_dir.iterdir()):
        shutil.rmtree(env.state_dir)
