"""The provider kubeadm without machines: inventory, power, what is wrong with a machine, secrets in errors."""

from __future__ import annotations

import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from harness._errors import ClusterError, CommandFailed, TargetError, UsageError
from harness.clusters import _machine, _ssh
from harness.clusters._inventory import Machine, read_inventory
from harness.clusters._machine import Look
from harness.clusters._power import PowerConfig, need
from harness.clusters._ssh import SshNode

GOOD = """
user = "admin"
key = "id"
known_hosts = "known"
become = true
[[machines]]
name = "cp"
host = "10.0.0.1"
role = "control-plane"
[[machines]]
name = "w1"
host = "10.0.0.2"
role = "worker"
user = "root"
become = false
power = { driver = "libvirt", target = "w1" }
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "inventory.toml"
    file.write_text(text)
    return file


def test_the_common_login_goes_into_each_machine(tmp_path: Path) -> None:
    inventory = read_inventory(written(tmp_path, GOOD))
    plane, worker = inventory.machines
    assert (plane.login.user, plane.login.become, plane.login.key) == ("admin", True, tmp_path / "id")
    assert (worker.login.user, worker.login.become, worker.login.known_hosts) == ("root", False, tmp_path / "known")
    assert SshNode(worker).power is not None
    assert SshNode(plane).power is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('role = "worker"', 'role = "boss"'), "machine w1: role cannot be 'boss'"),
        (('name = "w1"', 'name = "cp"'), "two machines have the name cp"),
        (("10.0.0.2", "10.0.0.1"), "two machines have the host 10.0.0.1"),
        (('role = "control-plane"', 'role = "worker"'), "0 machines have the role control-plane; 1 or 3"),
        (('role = "worker"', 'role = "control-plane"'), "2 machines have the role control-plane; 1 or 3"),
        (('host = "10.0.0.2"', 'hots = "10.0.0.2"'), "machine w1"),
        (('name = "w1"', 'name = "W 1"'), "machine W 1: name cannot be 'W 1'"),
        (('driver = "libvirt"', 'driver = "ipmi"'), "the driver ipmi also needs user, password_file"),
        (('driver = "libvirt"', 'driver = "magic"'), "machine w1: power.driver cannot be 'magic'"),
        (("become = false", 'port = "many"'), "machine w1: port cannot be 'many'"),
        (("[[machines]]", "[[machines"), "the inventory is not TOML"),
        (('user = "admin"', 'user = "admin"\nhostz = 1'), "unknown key 'hostz'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(UsageError) as err:
        read_inventory(written(tmp_path, GOOD.replace(*change)))
    assert says.lower() in str(err.value).lower()
    assert "inventory.toml" in err.value.where


def test_three_control_planes_need_a_balancer(tmp_path: Path) -> None:
    planes = [f'[[machines]]\nname = "cp{n}"\nhost = "10.0.1.{n}"\nrole = "control-plane"' for n in (1, 2)]
    text = GOOD + "\n".join(planes)
    with pytest.raises(UsageError, match="endpoint"):
        read_inventory(written(tmp_path, text))
    assert len(read_inventory(written(tmp_path, 'endpoint = "lb:6443"\n' + text)).control_planes) == 3


def test_no_inventory_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="harness machines up"):
        read_inventory(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("about", "off"),
    [
        ({"driver": "container", "target": "w1"}, "docker kill w1"),
        ({"driver": "libvirt", "target": "w1"}, "virsh -q -c qemu:///system destroy w1"),
        (
            {"driver": "ipmi", "target": "bmc", "user": "ops", "password_file": "/pw"},
            "ipmitool -I lanplus -H bmc -U ops -f /pw chassis power off",
        ),
        ({"driver": "command", "off": "pdu 'port 3' off", "on": "x", "reset": "y"}, "pdu 'port 3' off"),
    ],
)
def test_each_driver_is_a_command_line_without_a_password(about: dict[str, str], off: str) -> None:
    assert shlex.join(PowerConfig.model_validate(about).commands().off) == off


def test_a_redfish_driver_asks_the_system_to_reset(tmp_path: Path) -> None:
    about = {"driver": "redfish", "target": "https://bmc/redfish/v1/Systems/1", "password_file": "/netrc"}
    power = PowerConfig.model_validate(about).commands()
    assert power.on[-1] == "https://bmc/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
    assert [p[-2] for p in (power.off, power.on, power.reset)] == [
        '{"ResetType": "ForceOff"}',
        '{"ResetType": "On"}',
        '{"ResetType": "ForceRestart"}',
    ]


def test_no_power_is_a_clear_error() -> None:
    with pytest.raises(TargetError, match="no power switch"):
        need(None, "w1")


def machine(role: str = "worker") -> Machine:
    return Machine.model_validate({"name": "m", "host": "10.0.0.1", "role": role, "login": {}})


def seen(skew_s: float = 0.0, **changes: str) -> Look:
    values = {
        "kernel": "6.1.0-25-amd64",
        "arch": "x86_64",
        "uid": "0",
        "systemd": "yes",
        "cpus": "2",
        "memory_kib": "4000000",
        "free_kib": "20000000",
        "addresses": "10.0.0.1 172.17.0.1",
        "env": "",
        "kubernetes": "no",
        "ours": "no",
        "ports": "22 111",
        "missing": "",
        "resolvers": "10.0.0.53 ",
        "apt": "/usr/bin/apt-get",
        "cgroup": "cgroup2fs",
        "container": "none",
    }
    return Look({**values, **changes}, skew_s, 0.01)


def test_a_good_machine_has_no_problem() -> None:
    assert _machine.problems(machine("control-plane"), seen(), "desk") == []


@pytest.mark.parametrize(
    ("skew_s", "changes", "says"),
    [
        (0, {"kernel": "4.9.0-19-amd64"}, "its kernel 4.9.0-19-amd64 is too old: 4.19"),
        (37.2, {}, "its clock is 37.2 s ahead of"),
        (-5.0, {}, "its clock is 5.0 s behind"),
        (0, {"ports": "22 6443"}, "port 6443 is taken"),
        (0, {"kubernetes": "yes"}, "a Kubernetes on it that is not ours"),
        (0, {"env": "other", "ours": "yes"}, "belongs to the environment other"),
        (0, {"uid": "1000"}, "not root"),
        (0, {"systemd": "no"}, "not systemd"),
        (0, {"cpus": "1"}, "it has 1 processors; a control-plane needs 2"),
        (0, {"memory_kib": "1000000"}, "976 MiB of memory"),
        (0, {"free_kib": "1000000"}, "free in /var"),
        (0, {"addresses": "10.9.9.9"}, "is none of its addresses"),
        (0, {"arch": "aarch64"}, "aarch64"),
        (0, {"resolvers": ""}, "name servers are all on loopback"),
        (0, {"missing": " socat", "apt": ""}, "lacks socat"),
    ],
)
def test_each_problem_is_said_in_a_sentence(skew_s: float, changes: dict[str, str], says: str) -> None:
    (found,) = _machine.problems(machine("control-plane"), seen(skew_s, **changes), "desk")
    assert says in found


def test_a_joined_machine_may_listen_on_its_ports() -> None:
    assert _machine.problems(machine(), seen(kubernetes="yes", ours="yes", env="desk", ports="10250"), "desk") == []


def test_clones_and_all_problems_come_in_one_error() -> None:
    two = [machine(), Machine.model_validate({"name": "n", "host": "10.0.0.2", "role": "worker", "login": {}})]
    looks = {
        "m": seen(machine_id="a", kernel="4.4.0"),
        "n": seen(machine_id="a", addresses="10.0.0.2", ports="10250"),
    }
    with pytest.raises(ClusterError) as err:
        _machine.check_all(two, looks, "desk")
    assert err.value.where == "3 to mend"
    assert "m: its kernel" in err.value.what
    assert "n: port 10250" in str(err.value.last)
    assert "m and n: the same /etc/machine-id" in str(err.value.last)


def test_the_driver_of_control_groups_is_chosen_by_looking() -> None:
    assert seen().cgroup_driver == "systemd"
    assert seen(cgroup="tmpfs").cgroup_driver == "cgroupfs"


class Refusing:
    name = "cp"

    def run(self, *_: object, **__: object) -> None:
        raise CommandFailed("exit 1", last=f"bad token abcdef.{'0123456789abcdef'} key {'ab' * 32}")


def test_no_secret_gets_into_an_error() -> None:
    with pytest.raises(ClusterError) as err:
        _machine.kubeadm(Refusing(), "join", "", timeout_s=1)  # type: ignore[arg-type]
    assert str(err.value.last) == "bad token [secret] key [secret]"
    assert err.value.__cause__ is None


@pytest.mark.parametrize("container", [True, False])
@pytest.mark.parametrize("packages", [[], ["socat"]])
def test_the_scripts_are_shell(tmp_path: Path, container: bool, packages: list[str]) -> None:
    script = _machine.render(
        "prepare.sh.j2",
        packages=packages,
        container=container,
        cgroup_driver="systemd",
        env="desk",
        registry_url="http://r:5000",
        pause="pause:1",
    )
    for text in (script, *(f.read_text() for f in _machine.FOLDER.glob("*.sh"))):
        file = tmp_path / "script"
        file.write_text(text)
        subprocess.run(["sh", "-n", str(file)], check=True)


@pytest.mark.parametrize("role", ["control-plane", "worker"])
@pytest.mark.parametrize("join", [None, {"token": "t", "ca_hash": "h", "certificate_key": "k"}])
def test_the_configuration_of_kubeadm_is_yaml(role: str, join: dict[str, str] | None) -> None:
    import yaml

    text = _machine.render(
        "kubeadm.yaml.j2",
        machine=machine(role),
        join=join,
        address="10.0.0.1",
        port=6443,
        endpoint="10.0.0.1:6443",
        version="v1.35.4",
        env="rh-desk",
        pod_subnet="10.244.0.0/16",
        service_subnet="10.96.0.0/16",
        sans=["10.0.0.1"],
        container=True,
        cgroup_driver="cgroupfs",
        cgroup_v1=True,
    )
    kinds = [part["kind"] for part in yaml.safe_load_all(text)]
    assert kinds[0] == ("JoinConfiguration" if join else "InitConfiguration")
    assert ("ClusterConfiguration" in kinds) == (join is None)


def test_an_unreachable_machine_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (tmp_path / "known").write_text("")
    login = {"key": str(tmp_path / "id"), "known_hosts": str(tmp_path / "known"), "port": port}
    here = Machine.model_validate({"name": "m", "host": "127.0.0.1", "role": "worker", "login": login})
    with pytest.raises(CommandFailed, match="no such private key"):
        SshNode(here).run(["true"], timeout_s=3)
    (tmp_path / "id").write_text("")
    with pytest.raises(CommandFailed, match="cannot be reached"):
        SshNode(here).run(["true"], timeout_s=3)
    assert "cannot be reached" in _ssh.all_reachable([here])["m"]
