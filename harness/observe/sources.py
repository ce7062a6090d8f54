"""The usual recorders of a scenario, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.kube import Kube, Manifest
from harness.observe.argocd import NAMESPACE as ARGOCD
from harness.observe.argocd import argocd_recorders
from harness.observe.k8s import kubernetes
from harness.observe.live import KINDS, Live, live_recorders
from harness.observe.logs import LogRecorder
from harness.observe.metrics import MetricsRecorder
from harness.observe.probe import Probe, ProbeSpec
from harness.observe.prometheus import AlertmanagerRecorder, PrometheusRecorder
from harness.observe.receiver import ReceiverRecorder
from harness.observe.recorder import Recorder
from harness.observe.watch import Watch, api_endpoint
from harness.platform.receiver import Receiver


@dataclass(frozen=True)
class Sources:
    """What to record; what is empty or None is not recorded.

    Args:
        kube: the cluster.
        namespace: the Boutique's.
        app: its Argo CD Application.
        desired: its manifests as rendered from Git; `Observed.live.set_desired` when Git changes.
        probe: whose home page to ask for.
        prometheus_url: its API.
        alertmanager_url: its API.
        loki_url: its API.
        receiver_url: where notifications arrive, as reached from here.
        more_namespaces: other namespaces in the blast radius.
        blast_radius: Deployments whose logs are kept.
    """

    kube: Kube
    namespace: str
    app: str = ""
    desired: Sequence[Manifest] = ()
    probe: ProbeSpec | None = None
    prometheus_url: str = ""
    alertmanager_url: str = ""
    loki_url: str = ""
    receiver_url: str = ""
    more_namespaces: Sequence[str] = ()
    blast_radius: Sequence[str] = ()
    argocd_namespace: str = ARGOCD


@dataclass(frozen=True)
class Observed:
    """Recorders, ready for `recording`, and the one that must be told when Git changes."""

    recorders: list[Recorder] = field(default_factory=list)
    live: Live | None = None


def recorders(sources: Sources) -> Observed:
    """The recorders of `sources`, in the order in which they must start."""
    api = api_endpoint(sources.kube)
    live = Live(sources.desired, sources.namespace, sources.app) if sources.desired else None
    also = {}
    if live is not None:
        also = {KINDS[kind][1]: live.listener(kind) for kind in ("Deployment", "Service")}
    found: list[Recorder] = []
    watched = kubernetes(api, [sources.namespace, *sources.more_namespaces], also=also)
    if live is not None:
        shared = {w.resource: w for w in watched if isinstance(w, Watch) and w.resource in also}
        found += live_recorders(api, live, sources.namespace, shared)
    found += watched
    if sources.app:
        found += argocd_recorders(api, sources.app, sources.argocd_namespace)
    if sources.prometheus_url:
        found.append(PrometheusRecorder(sources.prometheus_url))
        found.append(MetricsRecorder(sources.prometheus_url, sources.namespace))
    if sources.alertmanager_url:
        found.append(AlertmanagerRecorder(sources.alertmanager_url))
    if sources.receiver_url:
        found.append(ReceiverRecorder(Receiver(sources.receiver_url)))
    if sources.probe:
        found.append(Probe(sources.probe))
    if sources.loki_url:
        found.append(LogRecorder(sources.loki_url, sources.namespace, sources.blast_radius))
    return Observed(found, live)
