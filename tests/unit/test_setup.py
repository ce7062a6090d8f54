from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import setup
from harness._errors import MachineNotReady
from harness._progress import Show
from harness._run import Completed


class Machine:
    """A machine with or without Docker; records what is run on it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.programs: set[str] = {"apt-get"}
        self.daemon = False

    def run(self, args: Sequence[str], *, check: bool = True, **_: Any) -> Completed:
        line = " ".join(args)
        self.calls.append(line)
        if line.startswith("apt-get install"):
            self.programs |= {"docker", "dockerd", "debootstrap"}
        if line.startswith("systemctl start docker"):
            self.daemon = True
        code = 0 if not line.startswith("docker info") or self.daemon else 1
        return Completed(tuple(args), code, "", "", 0.0)

    def which(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self.programs else None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine()
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(setup, "run", made.run)
    monkeypatch.setattr(setup.shutil, "which", made.which)  # type: ignore[attr-defined]
    monkeypatch.setattr(setup, "TRIXIE_SOURCE", tmp_path / "trixie.sources")
    monkeypatch.setattr(setup, "TRIXIE_PIN", tmp_path / "trixie.pref")
    monkeypatch.setattr(setup, "SYSTEMD", tmp_path)  # exists: there is an init system
    monkeypatch.setattr(setup, "_settle_limits", lambda: None)
    monkeypatch.setattr("harness.bundle.build.apt_mirror", lambda: "http://mirror.example/debian")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)  # type: ignore[attr-defined]
    return made


def quiet() -> Show:
    return Show(io.StringIO(), live=False)


def test_a_docker_that_answers_is_left_alone(machine: Machine) -> None:
    machine.programs |= {"docker", "dockerd"}
    machine.daemon = True
    setup.ensure_machine(quiet())
    assert [c.split()[0:2] for c in machine.calls] == [["docker", "info"]]


def test_a_machine_without_docker_gets_one_from_trixie_at_a_low_priority(machine: Machine) -> None:
    setup.ensure_machine(quiet())
    installs = [c for c in machine.calls if c.startswith("apt-get install")]
    assert len(installs) == 1
    assert "-t trixie docker.io containerd runc docker-cli" in installs[0]
    assert "Pin-Priority: 100" in setup.TRIXIE_PIN.read_text()
    assert "http://mirror.example/debian" in setup.TRIXIE_SOURCE.read_text()
    assert machine.daemon


def test_an_installed_docker_is_only_started(machine: Machine) -> None:
    machine.programs |= {"docker", "dockerd"}
    setup.ensure_machine(quiet())
    assert not [c for c in machine.calls if c.startswith("apt-get")]
    assert "systemctl start docker" in machine.calls


def test_without_root_it_says_so_and_touches_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)  # type: ignore[attr-defined]
    with pytest.raises(MachineNotReady, match="needs root"):
        setup.ensure_machine(quiet())
    assert not setup.TRIXIE_SOURCE.exists()
    machine.programs |= {"docker", "dockerd"}
    with pytest.raises(MachineNotReady, match="starting it needs root"):
        setup.ensure_machine(quiet())


def test_no_debian_says_what_to_do(machine: Machine) -> None:
    machine.programs.clear()
    with pytest.raises(MachineNotReady, match="no Debian"):
        setup.ensure_machine(quiet())


def test_debootstrap_is_installed_once(machine: Machine) -> None:
    setup.ensure_debootstrap(quiet())
    calls = len(machine.calls)
    setup.ensure_debootstrap(quiet())
    assert len(machine.calls) == calls


def test_without_an_init_system_a_stale_pid_file_goes_and_the_daemon_starts(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stale = tmp_path / "docker.pid"
    stale.write_text("999999999")
    monkeypatch.setattr(setup, "SYSTEMD", tmp_path / "none")
    monkeypatch.setattr(setup, "PID_FILE", stale)
    setup.start_docker()
    assert any("setsid --fork dockerd" in call for call in machine.calls)
    assert not stale.exists()
