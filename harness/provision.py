"""From nothing to a platform that is healthy: machine, bundle, platform server, cluster, stack. Idempotent throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from harness._errors import ClusterError
from harness._progress import Show
from harness.clusters.base import Cluster
from harness.env import Env
from harness.kube import Kube

if TYPE_CHECKING:
    from harness.bundle import Bundle
    from harness.judge.profiles import Profile

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


def up(env: Env, show: Show, *, profile_name: str = "fast", source: str = "auto") -> Platform:
    """Make or reuse everything; safe to run again after any failure or Ctrl-C.

    Args:
        env: the environment.
        show: the progress display.
        profile_name: the timing of detection: `fast`, `reference` or `stock`.
        source: where images come from: `auto`, `pull` or `build`.

    Raises:
        HarnessError: what failed, where, what was last seen, what to try.
    """
    from harness import bundle as bundles
    from harness.clusters import kind
    from harness.judge.profiles import profile as find_profile
    from harness.platform import server
    from harness.setup import ensure_machine
    from harness.stack.argocd import WEBHOOK_PORT
    from harness.stack.base import StackContext, install_all

    profile = find_profile(profile_name)
    with FileLock(env.state_dir / "provision.lock", timeout=PROVISION_LOCK_S):
        ensure_machine(show)
        bundle = bundles.ensure(show=show, source=source)
        with show.step("platform server: network, registry, Git, receiver, edge"):
            facts = server.up(env, bundle)
        with show.step("cluster: kind, 1 control plane + 2 workers") as step:
            cluster = kind.up(env, bundle, facts["registry_url"], step)
        kube = Kube(env.kubeconfig)
        first_node = kube.list("Node", labels="node-role.kubernetes.io/control-plane")[0]
        address = next(a["address"] for a in first_node["status"]["addresses"] if a["type"] == "InternalIP")
        facts["node_address"] = address
        facts["argocd_webhook"] = f"http://{address}:{WEBHOOK_PORT}/api/webhook"
        env.save(node_address=address, argocd_webhook=facts["argocd_webhook"], profile=profile.name)
        stack = install_all(StackContext(env, kube, bundle, cluster, profile, facts), show)
        env.save(stack=stack)
    return Platform(env, cluster, kube, bundle, profile, facts)


def attach(env: Env) -> Platform:
    """The platform that is up, without changing anything.

    Raises:
        ClusterError: it is not up.
    """
    from harness import bundle as bundles
    from harness.clusters import kind
    from harness.judge.profiles import profile as find_profile

    state = env.load()
    if not state.get("stack"):
        raise ClusterError("the platform is not up", where=env.name, fix="harness up")
    cluster = kind.connect(env)
    facts = {**state, "git_user": "harness"}
    return Platform(env, cluster, Kube(env.kubeconfig), bundles.open_bundle(), find_profile(state["profile"]), facts)


def down(env: Env, show: Show) -> None:
    """Remove the cluster, the platform server and the network; the bundle stays."""
    from harness.clusters import kind
    from harness.platform import server

    with show.step(f"removing environment {env.name}"):
        kind.down(env)
        server.down(env)
        for path in env.state_dir.glob("*"):
            if path.name in {"state.json", "kubeconfig", "kind.yaml", "ca.pem", "ca.key"}:
                path.unlink()
