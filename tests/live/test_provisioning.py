"""Bad days of provisioning: whatever interrupts it, the next `harness up` succeeds, and `harness down` leaves nothing.

Run by hand or by `make drill`; it makes and breaks an environment of its own for about ten minutes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.env import Env, state_root
from harness.kube import Kube

pytestmark = pytest.mark.live

ENV = Env("bad-days")
HARNESS = Path(sys.executable).with_name("harness")
UP_S = 900


def harness(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of the harness in the environment of this test."""
    env = {**os.environ, "HARNESS_ENV": ENV.name, **variables}
    return subprocess.run([HARNESS, *args], env=env, capture_output=True, text=True, timeout=UP_S, check=False)


def interrupted_up(step: str, after_s: float, how: signal.Signals) -> str:
    """Start `harness up`, and send it a signal some seconds after a step has begun; what it printed."""
    env = {**os.environ, "HARNESS_ENV": ENV.name}
    command = [str(HARNESS), "up"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # or a child of a background job would ignore it
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        said, begun = [], threading.Event()
        for line in process.stderr:
            said.append(line)
            if not begun.is_set() and line.startswith(f"… {step}"):
                begun.set()
                threading.Timer(after_s, process.send_signal, [how]).start()
        process.wait(60)
    assert begun.is_set(), "".join(said)
    assert process.returncode != 0, "it had ended before the signal"
    return "".join(said)


def ours() -> dict[str, list[str]]:
    """Containers, networks, volumes and processes that carry the environment's name."""
    listed = {
        "containers": ["docker", "ps", "-aq", "--filter", f"name=^{ENV.prefix}-"],
        "networks": ["docker", "network", "ls", "-q", "--filter", f"name=^{ENV.prefix}$"],
        "processes": ["pgrep", "-f", f"HARNESS_ENV={ENV.name}|{ENV.prefix}-|/{ENV.name}/kubeconfig"],
    }
    return {
        kind: subprocess.run(args, capture_output=True, text=True, check=False).stdout.split()
        for kind, args in listed.items()
    }


def volumes() -> set[str]:
    """All volumes of the Docker daemon."""
    done = subprocess.run(["docker", "volume", "ls", "-q"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever the tests did: `harness down` leaves no container, network, volume or process."""
    harness("down")
    before = volumes()
    yield
    done = harness("down")
    assert done.returncode == 0, done.stderr
    assert ours() == {"containers": [], "networks": [], "processes": []}
    assert volumes() <= before
    assert not (ENV.state_dir / "kubeconfig").exists()


@pytest.mark.parametrize(
    ("step", "after_s", "how"),
    [
        ("platform server", 0.5, signal.SIGINT),
        ("cluster: kind", 6, signal.SIGINT),
        ("cluster: kind", 12, signal.SIGKILL),
        ("stack: calico", 4, signal.SIGINT),
        ("stack: argocd", 3, signal.SIGKILL),
    ],
)
def test_interrupted_anywhere_it_ends_and_says_so(step: str, after_s: float, how: signal.Signals) -> None:
    """Ctrl-C and SIGKILL at a step; each run goes on from what the one before left."""
    said = interrupted_up(step, after_s, how)
    assert "Traceback" not in said


def test_the_next_start_succeeds() -> None:
    """After all those interruptions `harness up` ends with everything healthy."""
    done = harness("up")
    assert done.returncode == 0, done.stderr[-3000:]
    assert harness("status").returncode == 0


def test_a_component_broken_by_hand_is_mended_by_the_next_start() -> None:
    """An image that does not exist: `status` names the component and exits 1, `up` mends it."""
    kube = Kube(ENV.kubeconfig)
    found = kube.get("Deployment", "kube-state-metrics", "monitoring", api_version="apps/v1")
    assert found is not None
    container = found["spec"]["template"]["spec"]["containers"][0]["name"]
    change = {"spec": {"template": {"spec": {"containers": [{"name": container, "image": "example.invalid/no:1"}]}}}}
    kube.patch("Deployment", "kube-state-metrics", "monitoring", change, api_version="apps/v1")
    time.sleep(3)
    seen = harness("status")
    assert seen.returncode == 1
    assert "kube-state-metrics" in seen.stdout
    assert harness("up").returncode == 0
    assert harness("status").returncode == 0


def test_too_little_disk_is_said_before_anything_is_made(tmp_path: Path) -> None:
    """A cache on a file system of 64 MB: refused at once, with what is free and what is needed."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", tmp_path], check=True)
    try:
        done = harness("bundle", "build", HARNESS_CACHE_DIR=str(tmp_path))
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert done.returncode == 1
    assert "too little disk" in done.stderr
    assert "GiB needed" in done.stderr


def test_no_network_and_no_cache_is_said_clearly(tmp_path: Path) -> None:
    """Without any registry and any cache: which component, what was tried, what to do; no traceback."""
    env = {**os.environ, "HARNESS_ENV": ENV.name, "HARNESS_CACHE_DIR": str(tmp_path)}
    command = ["unshare", "--net", str(HARNESS), "bundle", "build"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "error: cannot build" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stale_state_folder_does_not_confuse_it() -> None:
    """State that says "up" while no container is there: refused with what to do."""
    stale = Env("bad-stale")
    stale.save(stack={"argocd": "v0"}, profile="fast", provider="kind")
    try:
        done = harness("status", HARNESS_ENV=stale.name)
        assert done.returncode == 1
        assert "harness up" in done.stderr
    finally:
        harness("down", HARNESS_ENV=stale.name)
        (state_root() / stale.name / "state.json").unlink(missing_ok=True)
