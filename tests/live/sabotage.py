"""A pytest plugin that makes scenarios lie: it breaks what a verdict rests on, right before a story is told.

    pytest scenarios/ -k longer_than -p tests.live.sabotage --sabotage rule

Everything is put back afterwards. For tests of the harness only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from harness._run import run
from harness._wait import Budget, wait_for
from harness.faults import KeptDown, Workload
from harness.provision import Platform
from harness.stack import prometheus
from harness.stack.argocd import NAMESPACE as ARGOCD
from harness.stack.base import StackContext, workloads_ready
from harness.story import Story

SETTLED = Budget(120, every_s=0.5)
MONITORING = "monitoring"
LATER_S = 5.0  # after the story has begun to break something: in the middle of it


@contextlib.contextmanager
def scaled_to_zero(platform: Platform, kind: str, namespace: str, name: str) -> Iterator[None]:
    """The workload has no pods while the block runs."""
    kube = platform.kube

    def scale(replicas: int) -> None:
        kube.patch(kind, name, namespace, {"spec": {"replicas": replicas}}, api_version="apps/v1")

    def pods() -> list[str]:
        return [p["metadata"]["name"] for p in kube.list("Pod", namespace) if p["metadata"]["name"].startswith(name)]

    scale(0)
    try:
        wait_for(f"{name} gone", pods, lambda left: not left, SETTLED)
        yield
    finally:
        scale(1)
        wait_for(f"{name} back", lambda: workloads_ready(kube, namespace, name), lambda text: text == "", SETTLED)


@contextlib.contextmanager
def without_rule(platform: Platform) -> Iterator[None]:
    """Prometheus runs without the rule CartServiceDown."""

    def load(*without: str) -> None:
        facts = {**platform.facts, "rules_without": without}
        context = StackContext(platform.env, platform.kube, platform.bundle, platform.cluster, platform.profile, facts)
        prometheus.install(context)
        wait_for("Prometheus", lambda: prometheus.healthy(context), lambda text: text == "", SETTLED)

    load("CartServiceDown")
    try:
        yield
    finally:
        load()


@contextlib.contextmanager
def no_effect(platform: Platform) -> Iterator[None]:
    """The fault does nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeptDown, "inject", lambda *_: None)
        yield


@contextlib.contextmanager
def wrong_target(platform: Platform) -> Iterator[None]:
    """The fault hits another service than it says."""
    inject = KeptDown.inject

    def astray(self: KeptDown, ctx: object, aim: object) -> None:
        other = replace(self, target=Workload(self.target.namespace, "adservice"))
        inject(other, ctx, aim)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeptDown, "inject", astray)
        yield


@contextlib.contextmanager
def load_dies(platform: Platform) -> Iterator[None]:
    """Locust is killed while the fault is on."""
    disturb = Story._disturb

    def doomed(self: Story) -> None:
        disturb(self)
        load = self.load
        assert load is not None
        killer = threading.Timer(LATER_S, lambda: os.kill(load._process.pid, signal.SIGKILL))
        killer.daemon = True
        killer.start()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Story, "_disturb", doomed)
        yield


@contextlib.contextmanager
def receiver_frozen(platform: Platform) -> Iterator[None]:
    """The alert receiver takes nothing and says nothing."""
    name = platform.env.container("receiver")
    run(["docker", "pause", name], timeout_s=30)
    try:
        yield
    finally:
        run(["docker", "unpause", name], timeout_s=30)


def _zero(kind: str, namespace: str, name: str) -> Callable[[Platform], contextlib.AbstractContextManager[None]]:
    return lambda platform: scaled_to_zero(platform, kind, namespace, name)


SABOTAGES: dict[str, Callable[[Platform], contextlib.AbstractContextManager[None]]] = {
    "rule": without_rule,
    "no-effect": no_effect,
    "wrong-target": wrong_target,
    "load-dies": load_dies,
    "receiver": receiver_frozen,
    "controller": _zero("StatefulSet", ARGOCD, "argocd-application-controller"),
    "prometheus": _zero("Deployment", MONITORING, "prometheus"),
    "alertmanager": _zero("Deployment", MONITORING, "alertmanager"),
    "kube-state-metrics": _zero("Deployment", MONITORING, "kube-state-metrics"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--sabotage", choices=sorted(SABOTAGES), help="what to break before each story")


@pytest.fixture(autouse=True)
def sabotaged(request: pytest.FixtureRequest, platform: Platform, shop: object) -> Iterator[None]:
    """Break it when everything is ready for the story; put it back after."""
    with SABOTAGES[request.config.getoption("--sabotage")](platform):
        yield


__all__ = ["SABOTAGES"]
