"""What the machine itself needs: a usable Docker, and debootstrap. Idempotent; what already works is left alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock

from harness._errors import CommandFailed, MachineNotReady
from harness._progress import Show
from harness._run import run
from harness._wait import Budget, wait_for
from harness.env import cache_dir, state_root

DOCKER_UP = Budget(60, every_s=0.5)
APT_TIMEOUT_S = 900
SYSTEMD = Path("/run/systemd/system")
PID_FILE = Path("/var/run/docker.pid")
TRIXIE_SOURCE = Path("/etc/apt/sources.list.d/resilience-harness-trixie.sources")
TRIXIE_PIN = Path("/etc/apt/preferences.d/resilience-harness-trixie")


def ensure_machine(show: Show) -> None:
    """Make this machine able to build the bundle and run clusters.

    Raises:
        MachineNotReady: something is missing that only root could install.
    """
    cache_dir().mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir() / "setup.lock", timeout=APT_TIMEOUT_S):
        if docker_answers():
            _settle_limits()
            return
        with show.step("setup: Docker") as step:
            if shutil.which("dockerd") is None:
                step.note("installing it")
                install_docker()
            step.note("starting the daemon")
            start_docker()
            wait_for("Docker", docker_answers, bool, DOCKER_UP, fix=f"see {docker_log()}")
        _settle_limits()


def docker_answers() -> bool:
    """Whether a Docker daemon answers."""
    if shutil.which("docker") is None:
        return False
    return run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout_s=15, check=False).ok


def docker_log() -> Path:
    """The log of a daemon that we started."""
    return state_root() / "dockerd.log"


def install_docker() -> None:
    """Install Docker from Debian trixie, whose build can start privileged containers here, beside bookworm's own.

    Raises:
        MachineNotReady: not root, or no Debian.
    """
    from harness.bundle.build import apt_mirror

    _need_root("Docker is not installed, and installing it needs root")
    if shutil.which("apt-get") is None:
        raise MachineNotReady("Docker is not installed, and this is no Debian", fix="install Docker 24 or newer")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    TRIXIE_SOURCE.write_text(
        f"Types: deb\nURIs: {apt_mirror()}\nSuites: trixie\nComponents: main\nSigned-By: {keyring}\n"
    )
    TRIXIE_PIN.write_text("Package: *\nPin: release n=trixie\nPin-Priority: 100\n")
    apt = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], timeout_s=APT_TIMEOUT_S, env=apt, fix="is the Debian mirror in reach?")
    packages = ["docker.io", "containerd", "runc", "docker-cli", "iptables"]
    args = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-t", "trixie", *packages]
    run(args, timeout_s=APT_TIMEOUT_S, env=apt)


def ensure_debootstrap(show: Show) -> None:
    """Install debootstrap when it is missing; only the build source needs it."""
    if shutil.which("debootstrap"):
        return
    _need_root("debootstrap is not installed, and installing it needs root")
    with show.step("setup: debootstrap"):
        apt = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-q"], timeout_s=APT_TIMEOUT_S, env=apt)
        run(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", "debootstrap"],
            timeout_s=APT_TIMEOUT_S,
            env=apt,
        )


def start_docker() -> None:
    """Start the daemon: by the init system where there is one, else as a process of its own."""
    _need_root("the Docker daemon does not run, and starting it needs root")
    if SYSTEMD.exists():
        run(["systemctl", "start", "docker"], timeout_s=120)
        return
    if PID_FILE.exists() and not _is_dockerd(PID_FILE.read_text().strip()):
        PID_FILE.unlink()
    docker_log().parent.mkdir(parents=True, exist_ok=True)
    # The daemon outlives us on purpose (clusters stay up between runs), so it must be nobody's child.
    run(["sh", "-c", 'setsid --fork dockerd </dev/null >>"$0" 2>&1', str(docker_log())], timeout_s=15)


def _is_dockerd(pid: str) -> bool:
    # After a reboot another process may have the number.
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
    except OSError:
        return False


def _settle_limits() -> None:
    # Three nodes with hundreds of watchers each exceed the kernel's default.
    for name, least in (("fs.inotify.max_user_instances", 1024), ("fs.inotify.max_user_watches", 524288)):
        path = Path("/proc/sys") / name.replace(".", "/")
        if path.exists() and int(path.read_text()) < least and os.geteuid() == 0:
            try:
                run(["sysctl", "-q", "-w", f"{name}={least}"], timeout_s=10)
            except CommandFailed as err:
                raise MachineNotReady(
                    f"{name} is too low for three nodes", last=err.last, fix=f"set it to {least}"
                ) from err


def _need_root(why: str) -> None:
    if os.geteuid() != 0:
        raise MachineNotReady(why, fix="run once as root, or install and start it yourself")
