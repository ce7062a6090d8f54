"""An environment: one cluster with everything on and beside it, under one name, so that several can live side by side.

Every Docker object, kind cluster and file of an environment carries its name; ports on 127.0.0.1 are chosen by Docker
and written to the state file. `harness --env NAME`, the variable HARNESS_ENV or `env` in `harness.toml` chooses it; the
default is `desk`.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from harness._errors import UsageError

APP = "resilience-harness"
LABEL = "resilience-harness.env"  # on every Docker object that we make


def cache_dir() -> Path:
    """Where the bundle and the toolchain caches live; HARNESS_CACHE_DIR overrides the user's cache directory."""
    override = os.environ.get("HARNESS_CACHE_DIR")
    return Path(override) if override else Path(platformdirs.user_cache_dir(APP))


def state_root() -> Path:
    """Where environments keep their state; HARNESS_STATE_DIR overrides the user's state directory."""
    override = os.environ.get("HARNESS_STATE_DIR")
    return Path(override) if override else Path(platformdirs.user_state_dir(APP))


@dataclass(frozen=True)
class Env:
    """The names and places of one environment."""

    name: str = "desk"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", self.name):
            raise UsageError(
                f"environment name {self.name!r} cannot be used",
                fix="lower-case letters, digits and dashes, at most 20, starting with a letter",
            )

    @property
    def prefix(self) -> str:
        """What the names of all its Docker objects begin with, and the name of its network and kind cluster."""
        return f"rh-{self.name}"

    @property
    def state_dir(self) -> Path:
        """Its own directory, mode 0700: kubeconfig, credentials, CA, state.json."""
        path = state_root() / self.name
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    @property
    def kubeconfig(self) -> Path:
        """The admin kubeconfig (mode 0600)."""
        return self.state_dir / "kubeconfig"

    def container(self, role: str) -> str:
        """The name of the container that plays `role` (`git`, `receiver`, `edge`, `registry`)."""
        return f"{self.prefix}-{role}"

    def load(self) -> dict[str, Any]:
        """What is known of the environment (ports, addresses, versions); empty when it is not up."""
        path = self.state_dir / "state.json"
        if not path.exists():
            return {}
        data: dict[str, Any] = json.loads(path.read_text())
        return data

    def save(self, **facts: Any) -> None:
        """Merge `facts` into the state file, atomically, mode 0600."""
        path = self.state_dir / "state.json"
        draft = path.with_suffix(".tmp")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps({**self.load(), **facts}, indent=2, sort_keys=True))
        draft.replace(path)


def current_env() -> Env:
    """The environment that the configuration names: HARNESS_ENV, `env` in `harness.toml`, or `desk`."""
    from harness.config import load

    return Env(load().env)
