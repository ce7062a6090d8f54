"""The provider kubeadm on machines in containers: installation, killed at every stage, bad days, and the way back.

HARNESS_ENV=metal .venv/bin/pytest tests/live/test_kubeadm.py -v -m live
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import bundle as bundles
from harness._errors import ClusterError
from harness._progress import Step, showing
from harness.clusters import _ssh, kubeadm
from harness.clusters._inventory import read_inventory
from harness.clusters._ssh import SshNode
from harness.config import Config, KubeadmConfig
from harness.env import Env
from harness.kube import Kube
from harness.platform import machines, server

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("default")]

ENV = Env(os.environ.get("HARNESS_ENV", "metal"))
# What a stage says when it begins: each is a moment at which the runner is killed.
STAGES = (
    "logging in",
    "clearing half-joined",
    "preparing machines",
    "kubeadm init",
    "making a short-lived",
    "kubeadm join",
)
SNAPSHOT = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /root -o -path /var \) -prune -o -print | sort
find /var/lib -xdev \( -path '/var/lib/systemd/*' -o -path '/var/lib/apt/*' \) -prune -o -print | sort
iptables-save 2>/dev/null | grep '^-' | sort
sysctl net.ipv4.ip_forward
ip -o link | cut -d: -f2 | cut -d@ -f1 | sort
systemctl is-enabled containerd; systemctl is-active containerd
cat /etc/containerd/config.toml | sha256sum
ls -l /opt/cni/bin | cut -d' ' -f1,5,9-
pgrep -c 'kubelet|kube-|etcd|containerd-shim|calico' || :
"""


@pytest.fixture(scope="module")
def config() -> Iterator[Config]:
    """Three machines, and the configuration that names them."""
    inventory = ENV.state_dir / "inventory.toml"
    with showing() as show:
        bundle = bundles.ensure(show=show)
        server.up(ENV, bundle)
        machines.up(ENV, bundle, show, control_planes=1, workers=2, inventory=inventory)
    yield Config(provider="kubeadm", kubeadm=KubeadmConfig(inventory=inventory))
    _ssh.close_all()
    machines.down(ENV)
    server.down(ENV)


def registry_url() -> str:
    return str(ENV.load()["registry_url"])


def up(config: Config) -> None:
    step = Step("cluster", time.monotonic())
    kubeadm.up(ENV, bundles.open_bundle(), registry_url(), config, step)


def nodes(config: Config) -> list[SshNode]:
    return [SshNode(m) for m in read_inventory(config.kubeadm.inventory).machines]


def snapshot(config: Config) -> dict[str, list[str]]:
    return {n.name: n.run(["sh"], stdin=SNAPSHOT, timeout_s=60).out.splitlines() for n in nodes(config)}


def known_nodes() -> set[str]:
    return {n["metadata"]["name"] for n in Kube(ENV.kubeconfig).list("Node")}


RUNNER = """
import sys, time
from pathlib import Path
from harness import bundle as bundles
from harness._progress import Step
from harness.clusters import kubeadm
from harness.config import Config, KubeadmConfig
from harness.env import Env
env = Env(sys.argv[1])
class Saying(Step):
    def note(self, text):
        print(text, flush=True)
config = Config(provider="kubeadm", kubeadm=KubeadmConfig(inventory=Path(sys.argv[2])))
kubeadm.up(env, bundles.open_bundle(), env.load()["registry_url"], config, Saying("x", 0.0))
print("DONE", flush=True)
"""


@pytest.fixture(scope="module")
def before(config: Config) -> dict[str, list[str]]:
    """What is on the machines before anything."""
    return snapshot(config)


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_each_stage_the_next_run_ends_well(config: Config, before: dict[str, list[str]], stage: str) -> None:
    kubeadm.down(ENV)
    args = [sys.executable, "-c", RUNNER, ENV.name, str(config.kubeadm.inventory)]
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        for line in runner.stdout:
            if line.startswith(stage):
                time.sleep(0.6)  # in the middle of it
                break
        else:
            pytest.fail(f"it never said {stage!r}")
        runner.send_signal(signal.SIGKILL)
    up(config)
    assert known_nodes() == {n.name for n in nodes(config)}


def test_a_second_up_reuses_it(config: Config) -> None:
    up(config)
    made = {n["metadata"]["name"]: n["metadata"]["uid"] for n in Kube(ENV.kubeconfig).list("Node")}
    up(config)
    assert made == {n["metadata"]["name"]: n["metadata"]["uid"] for n in Kube(ENV.kubeconfig).list("Node")}


def test_a_half_joined_machine_starts_over(config: Config) -> None:
    up(config)
    worker = nodes(config)[-1]
    worker.run(["sh", "-c", f"rm {kubeadm.JOINED} && systemctl stop kubelet"])
    ENV.save(kubeadm_spec="")
    up(config)
    assert worker.run(["systemctl", "is-active", "kubelet"]).ok
    assert worker.name in known_nodes()


def test_down_puts_the_machines_back_to_where_they_were(config: Config, before: dict[str, list[str]]) -> None:
    up(config)
    kubeadm.down(ENV)
    after = snapshot(config)
    for name, lines in before.items():
        left, lost = sorted(set(after[name]) - set(lines)), sorted(set(lines) - set(after[name]))
        assert (left, lost) == ([], []), "\n".join([f"{name}:", *(f"+ {x}" for x in left), *(f"- {x}" for x in lost)])


def fails(config: Config) -> str:
    kubeadm.down(ENV)
    with pytest.raises(ClusterError) as err:
        up(config)
    return f"{err.value.what}\n{err.value.last}\n{err.value.fix}"


def test_a_taken_port(config: Config) -> None:
    plane = nodes(config)[0]
    kubeadm.down(ENV)
    plane.run(["systemd-run", "-q", "--unit=squatter", "socat", "TCP-LISTEN:6443,fork", "EXEC:true"])
    time.sleep(0.5)
    try:
        assert "cp: port 6443 is taken" in fails(config)
    finally:
        plane.run(["systemctl", "stop", "squatter"])


def test_a_clock_that_is_wrong(config: Config) -> None:
    """Containers share their host's clock, so the machine's `date` is made to lie, which is what we read."""
    worker = nodes(config)[1]
    lie = "#!/bin/sh\necho $(( $(/usr/bin/date +%s) + 90 )).5\n"
    worker.run(["sh", "-c", "cat > /usr/local/bin/date && chmod 755 /usr/local/bin/date"], stdin=lie)
    try:
        assert re.search(r"w1: its clock is (89|90)\.\d s ahead", fails(config))
    finally:
        worker.run(["rm", "/usr/local/bin/date"])


def test_an_old_kernel(config: Config) -> None:
    worker = nodes(config)[1]
    lie = '#!/bin/sh\n[ "$1" = -r ] && echo 3.10.0-1160.el7 || exec /usr/bin/uname "$@"\n'
    worker.run(["sh", "-c", "cat > /usr/local/bin/uname && chmod 755 /usr/local/bin/uname"], stdin=lie)
    try:
        assert "w1: its kernel 3.10.0-1160.el7 is too old" in fails(config)
    finally:
        worker.run(["rm", "/usr/local/bin/uname"])


def test_a_foreign_kubernetes(config: Config) -> None:
    kubeadm.down(ENV)
    worker = nodes(config)[2]
    worker.run(["sh", "-c", "mkdir -p /etc/kubernetes && echo x > /etc/kubernetes/kubelet.conf"])
    try:
        assert "w2: there is a Kubernetes on it that is not ours" in fails(config)
    finally:
        worker.run(["rm", "-r", "/etc/kubernetes"])


def changed(config: Config, tmp_path: Path, old: str, new: str) -> Config:
    _ssh.close_all()
    _ssh._connections.clear()
    file = tmp_path / "inventory.toml"
    file.write_text(config.kubeadm.inventory.read_text().replace(old, new))
    return Config(provider="kubeadm", kubeadm=KubeadmConfig(inventory=file))


def test_a_wrong_key(config: Config, tmp_path: Path) -> None:
    other = machines._key(dataclasses.replace(Env("other-key")))
    said = fails(changed(config, tmp_path, str(ENV.state_dir / "ssh_key"), str(other)))
    assert "3 of 3 machines cannot be logged in to" in said
    assert "refuses this key" in said


def test_an_unknown_and_a_changed_host_key(config: Config, tmp_path: Path) -> None:
    known = (ENV.state_dir / "known_hosts").read_text().splitlines()
    assert len(known) == 3
    swapped = [" ".join([known[0].split()[0], *known[1].split()[1:]])]  # cp with w1's key; the others unknown
    (tmp_path / "known").write_text("\n".join(swapped) + "\n")
    said = fails(changed(config, tmp_path, str(ENV.state_dir / "known_hosts"), str(tmp_path / "known")))
    assert "cp: the host key has changed" in said
    assert "w1: the host key is not known" in said


def test_an_unreachable_machine(config: Config, tmp_path: Path) -> None:
    address = read_inventory(config.kubeadm.inventory).workers[0].host
    gone = address.rpartition(".")[0] + ".99"
    said = fails(changed(config, tmp_path, f'"{address}"', f'"{gone}"'))
    assert "1 of 3 machines cannot be logged in to" in said
    assert "w1: the machine cannot be reached" in said
