"""How a provider is chosen, what an environment remembers of it, and what a failure leaves for whoever looks into it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import provision
from harness._errors import ClusterError, HarnessError, UsageError, WaitTimeout
from harness.clusters import attached, kind
from harness.clusters.base import Cluster
from harness.env import Env
from harness.stack import base


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Env:
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path))
    return Env("unit")


@pytest.mark.parametrize(("name", "module"), [("kind", kind), ("attached", attached)])
def test_a_provider_is_a_module_with_four_functions(name: str, module: Any) -> None:
    found = provision.provider_of(name)
    assert found is module
    assert all(callable(getattr(found, verb)) for verb in ("up", "connect", "down", "diagnose"))


def test_an_unknown_provider_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no provider is called 'eks'") as caught:
        provision.provider_of("eks")
    assert caught.value.fix == "one of kind, kubeadm, attached"


def test_an_environment_belongs_to_the_provider_that_made_it(env: Env) -> None:
    provision._same_provider(env, "kind")
    env.save(provider="kind")
    provision._same_provider(env, "kind")
    with pytest.raises(UsageError, match="made by the provider kind, not attached") as caught:
        provision._same_provider(env, "attached")
    assert "harness --env unit down" in caught.value.fix


def test_a_platform_that_is_not_up_cannot_be_attached_to(env: Env) -> None:
    with pytest.raises(ClusterError, match="not up"):
        provision.attach(env)


def _used(env: Env) -> Path:
    """An environment in whose cluster a fault was on."""
    env.save(provider="kind")
    for folder in ("journal", "certs.d/_default", "deadman"):
        (env.state_dir / folder).mkdir(parents=True)
    (env.state_dir / "journal" / "a1b2.json").write_text("{}")
    (env.state_dir / "provision.lock").touch()
    return env.state_dir


def test_a_cluster_that_is_gone_takes_its_faults_along_and_leaves_no_folder(env: Env) -> None:
    folder = _used(env)
    provision._forget(env, faults=True)
    assert not folder.exists()


def test_diagnostics_outlive_the_cluster(env: Env) -> None:
    folder = _used(env)
    (folder / "diagnostics").mkdir()
    provision._forget(env, faults=True)
    assert {path.name for path in folder.iterdir()} == {"diagnostics", "provision.lock"}


def test_faults_on_a_cluster_that_is_only_left_stay_written_down(env: Env) -> None:
    folder = _used(env)
    provision._forget(env, faults=False)
    assert (folder / "journal" / "a1b2.json").exists()
    assert env.load() == {}


@pytest.mark.parametrize(
    ("broke", "what"),
    [
        (WaitTimeout("loki healthy: not met", fix="harness status"), "loki healthy: not met"),
        (OSError("connection reset"), "the stack could not be installed"),
    ],
)
def test_a_stack_that_fails_leaves_evidence_and_says_where(
    env: Env, monkeypatch: pytest.MonkeyPatch, broke: Exception, what: str
) -> None:
    def install_all(ctx: Any, show: Any) -> dict[str, str]:
        raise broke

    monkeypatch.setattr(base, "install_all", install_all)
    provider = SimpleNamespace(diagnose=lambda env, bundle: Path("/diagnostics"))
    ctx = SimpleNamespace(env=env, bundle=None)
    with pytest.raises(HarnessError) as caught:
        provision._install(cast(Any, ctx), cast(Any, provider), cast(Any, None))
    assert caught.value.what == what
    assert caught.value.fix.endswith("journals and pod logs are in /diagnostics")


def test_an_attached_platform_says_its_own_addresses(env: Env) -> None:
    facts = {"prometheus_api": "http://p:9090", "loki_api": "", "receiver_api": "http://r:8080"}
    nothing = cast(Any, None)
    platform = provision.Platform(env, Cluster("attached", Path("k"), ()), nothing, nothing, nothing, facts)
    assert (platform.url("prometheus"), platform.url("loki")) == ("http://p:9090", "")
    assert platform.receiver_url == "http://r:8080"
