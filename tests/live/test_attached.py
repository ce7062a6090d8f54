"""The provider `attached` on a real cluster: one environment makes a platform, a second one attaches to it.

Takes about ten minutes, and makes an environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness.boutique.deploy import Boutique, ensure_repository
from harness.bundle import open_bundle
from harness.clusters._node_pod import NAMESPACE
from harness.env import Env

pytestmark = pytest.mark.live

OWNER, GUEST = Env("att"), Env("att-guest")
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
UP_S, RUN_S = 900, 540
BOUTIQUE = "boutique-a-stock"
NODE = f"{OWNER.prefix}-worker"
NODE_IMAGE = "quay.io/calico/node:v3.31.0"  # on every node already; it has nsenter and sleep


def harness(env: Env, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of the harness in one of the two environments."""
    given = {**os.environ, "HARNESS_ENV": env.name, **variables}
    command = [str(BIN / "harness"), *args]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=UP_S, check=False)


def kubectl(*args: str, stdin: str = "") -> str:
    """What an administrator does by hand."""
    tool = open_bundle(["kubernetes"]).tool("kubectl")
    command = [str(tool), "--kubeconfig", str(OWNER.kubeconfig), *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def owner() -> Iterator[Env]:
    """A platform with empty Git repositories, and nothing else of ours."""
    done = harness(OWNER, "up")
    assert done.returncode == 0, done.stderr
    for overlay in ("stock", "hardened"):
        ensure_repository(Boutique(OWNER, f"a-{overlay}"))
    yield OWNER
    done = harness(OWNER, "down")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def config(owner: Env, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The guest's harness.toml."""
    folder, state = tmp_path_factory.mktemp("guest"), owner.load()
    password = folder / "git.password"
    password.touch(mode=0o600)
    password.write_text(state["git_password"])
    file = folder / "harness.toml"
    file.write_text(f"""\
provider = "attached"
env = "{GUEST.name}"
[attached]
kubeconfig = "{owner.kubeconfig}"
namespaces = ["boutique-a-*"]
nodes = ["{NODE}"]
node_image = "{NODE_IMAGE}"
git_password_file = "git.password"
[attached.addresses]
ingress = "https://127.0.0.1:{state["edge_port"]}"
receiver = "http://127.0.0.1:{state["receiver_port"]}"
git = "http://127.0.0.1:{state["git_port"]}/git"
git_in_cluster = "{state["git_url"]}"
""")
    yield file
    done = harness(GUEST, "down", HARNESS_CONFIG=str(file))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def guest(config: Path) -> Path:
    """The configuration of an environment that is attached with an administrator's rights, after it was refused."""
    refused = harness(GUEST, "up", HARNESS_CONFIG=str(config))
    assert refused.returncode == 1
    assert "opt-in" in refused.stderr
    command = refused.stderr[refused.stderr.index("kubectl --kubeconfig") :].strip()
    for line in command.replace("\n", " ").split("&&"):
        kubectl(*line.split()[3:])
    done = harness(GUEST, "up", HARNESS_CONFIG=str(config))
    assert done.returncode == 0, done.stderr
    return config


def fault(config: Path, name: str, *settings: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a fault by hand."""
    flags = [part for setting in settings for part in ("--set", setting)]
    return harness(GUEST, "faults", "run", name, *flags, "--for", "3s", HARNESS_CONFIG=str(config), **variables)


def test_the_same_scenarios_pass_with_one_option_changed(guest: Path) -> None:
    before = set((ROOT / "reports").glob(f"*-{GUEST.name}"))
    chosen = "longer_than or scaling or pushed_release"
    command = [str(BIN / "pytest"), str(ROOT / "scenarios"), "--config", str(guest), "-k", chosen]
    env = {k: v for k, v in os.environ.items() if k != "HARNESS_ENV"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed, 1 skipped" in done.stdout
    (run,) = set((ROOT / "reports").glob(f"*-{GUEST.name}")) - before
    info = json.loads((run / "run.json").read_text())
    assert info["provider"] == "attached"
    assert ["registry" in s["why"] for s in info["skipped"]] == [True]


def test_a_node_is_reached_through_a_pod_that_is_gone_afterwards(guest: Path) -> None:
    done = fault(guest, "node.cpu-pressure", f"node={NODE}", "workers=1")
    assert done.returncode == 0, done.stderr
    assert kubectl("-n", NAMESPACE, "get", "pods", "-o", "name") == ""


def test_a_node_outside_the_allow_list_is_refused(guest: Path) -> None:
    done = fault(guest, "node.cpu-pressure", f"node={OWNER.prefix}-worker2")
    assert done.returncode == 1
    assert "no node" in done.stderr


def test_a_namespace_outside_the_allow_list_is_refused(guest: Path) -> None:
    done = fault(guest, "pod.kill", "target=monitoring/loki")
    assert done.returncode == 1
    assert "outside the allow-list" in done.stderr


def test_an_account_with_the_generated_role_can_do_that_fault_and_no_other(guest: Path, tmp_path: Path) -> None:
    # The Boutique is there: the scenarios above have deployed it.
    printed = harness(GUEST, "attached", "role", "pod.kept-down", HARNESS_CONFIG=str(guest))
    assert printed.returncode == 0, printed.stderr
    kubectl("apply", "-f", "-", stdin=printed.stdout)
    token = kubectl("-n", NAMESPACE, "create", "token", "resilience-harness").strip()
    admin = yaml.safe_load(OWNER.kubeconfig.read_text())
    admin["users"][0]["user"] = {"token": token}
    bound = tmp_path / "bound"
    bound.touch(mode=0o600)
    bound.write_text(yaml.safe_dump(admin))
    use = {"HARNESS_ATTACHED_KUBECONFIG": str(bound)}
    text = guest.read_text().replace(f'nodes = ["{NODE}"]\n', "")
    least = guest.with_name("least.toml")
    least.write_text(text)
    done = harness(GUEST, "up", HARNESS_CONFIG=str(least), **use)
    assert done.returncode == 0, done.stderr
    done = fault(least, "pod.kept-down", f"target={BOUTIQUE}/adservice")
    assert done.returncode == 0, done.stderr
    done = fault(least, "gitops.drift-scale", f"target={BOUTIQUE}/adservice", "replicas=0")
    assert done.returncode == 1
    assert "these credentials may not do it; nothing was touched" in done.stderr
    assert "patch deployments.apps" in done.stderr
    assert "harness attached role gitops.drift-scale" in done.stderr
    # What is left is the administrator's to clean up, whose kubeconfig the guest has again.
    assert harness(GUEST, "up", HARNESS_CONFIG=str(guest)).returncode == 0
