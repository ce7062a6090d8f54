"""An injection that is under way when the dead-man fires never lands after the undo: the real shell, the real lock."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness._run import Completed, run
from harness._wait import Budget, wait_for
from harness.faults._deadman import _WHILE_ARMED, ArmedNode


class Here:
    """A node that is this machine."""

    name, role = "here", "worker"

    def run(self, args: list[str], *, timeout_s: float = 15, stdin: str | None = None, check: bool = True) -> Completed:
        return run(args, timeout_s=timeout_s, stdin=stdin, check=check)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dead-man that is armed."""
    path = tmp_path / "abc-0"
    path.mkdir()
    (path / "until").write_text("1")
    return path


def attempt(folder: Path, target: Path) -> int:
    node = ArmedNode(Here(), str(folder))  # type: ignore[arg-type]
    return node.run(["sh"], stdin=f"echo x > {target}\n", check=False).code


def test_while_it_is_armed_commands_run(folder: Path, tmp_path: Path) -> None:
    assert attempt(folder, tmp_path / "made") == 0
    assert (tmp_path / "made").exists()


def test_once_it_has_fired_nothing_is_done(folder: Path, tmp_path: Path) -> None:
    (folder / "fired").touch()
    assert attempt(folder, tmp_path / "made") == 75
    assert not (tmp_path / "made").exists()


def test_once_it_is_gone_nothing_is_done(folder: Path, tmp_path: Path) -> None:
    assert attempt(tmp_path / "gone", tmp_path / "made") != 0
    assert not (tmp_path / "made").exists()


def test_what_waits_for_the_undo_does_nothing_after_it(folder: Path, tmp_path: Path) -> None:
    """The undo holds the lock, fires, and takes the folder away; the injection that waited for it gives up."""
    free, made = tmp_path / "free", tmp_path / "made"
    undo = f'touch {folder}/fired {tmp_path}/held; until [ -e {free} ]; do sleep 0.02; done; rm -rf "{folder}"'
    with subprocess.Popen(["flock", f"{folder}/lock", "sh", "-c", undo]) as undoing:
        wait_for("the undo", (tmp_path / "held").exists, bool, Budget(5, every_s=0.02))
        with subprocess.Popen(["sh", "-c", _WHILE_ARMED, "sh", str(folder), "touch", str(made)]) as late:
            free.touch()
            assert late.wait(5) == 75
        assert undoing.wait(5) == 0
    assert not made.exists()


def test_what_it_starts_does_not_keep_the_lock(folder: Path) -> None:
    node = ArmedNode(Here(), str(folder))  # type: ignore[arg-type]
    node.run(["sh", "-c", "sleep 5 >/dev/null 2>&1 &"])
    done = run(["flock", "-n", f"{folder}/lock", "true"], timeout_s=5, check=False)
    assert done.ok
