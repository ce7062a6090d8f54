"""The alert rules as data: the ConfigMap that Prometheus loads and the contracts' list of known alerts come from here.

The reference platform's rules, made per namespace so that several Boutiques live side by side, and a few for the
platform itself. Their `for` comes from the profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.judge.contract import AlertInfo
    from harness.judge.profiles import Profile

BOUTIQUES = 'namespace=~"boutique.*"'
WATCHDOG = "Watchdog"


@dataclass(frozen=True)
class Rule:
    """One alert rule.

    Args:
        name: the alert's name.
        expr: PromQL; `{window}` becomes the profile's window for rates, `{counts}` that for counting restarts.
        severity: `critical`, `warning` or `none`.
        summary: what on-call reads; Prometheus fills in `{{ $labels... }}`.
        group: the group it is evaluated in.
        for_factor: its `for` is this many times the profile's.
        app: the Deployment that it is about, if it is about one.
    """

    name: str
    expr: str
    severity: str
    summary: str
    group: str
    for_factor: float = 1.0
    app: str = ""

    @property
    def cluster_wide(self) -> bool:
        """Whether it is about nodes or the platform, and so carries no `namespace` label."""
        return "by (namespace" not in self.expr

    def for_s(self, profile: Profile) -> float:
        """How long its condition must hold before it fires."""
        return profile.for_of(self.name) * self.for_factor


def _service_down(name: str, deployment: str) -> Rule:
    # `min by` drops the scrape's own labels, so that the alert keeps its identity when the exporter moves.
    available = f'kube_deployment_status_replicas_available{{{BOUTIQUES}, deployment="{deployment}"}}'
    return Rule(
        name,
        f"min by (namespace, deployment) ({available}) == 0",
        "critical",
        f"{deployment} in {{{{ $labels.namespace }}}} has no available replica",
        "boutique",
        app=deployment,
    )


def _job_down(name: str, job: str, what: str) -> Rule:
    return Rule(name, f'absent(up{{job="{job}"}} == 1)', "critical", f"{what} does not answer", "platform")


RULES: tuple[Rule, ...] = (
    _service_down("CartServiceDown", "cartservice"),
    _service_down("CheckoutServiceDown", "checkoutservice"),
    _service_down("PaymentServiceDown", "paymentservice"),
    _service_down("RedisCartDown", "redis-cart"),
    _service_down("FrontendDown", "frontend"),
    Rule(
        "PodCrashLooping",
        "max by (namespace, pod, container) (kube_pod_container_status_waiting_reason{"
        + BOUTIQUES
        + ', reason="CrashLoopBackOff"}) == 1',
        "warning",
        "{{ $labels.namespace }}/{{ $labels.pod }} crashes again and again",
        "boutique",
    ),
    Rule(
        "PodNotRunning",
        "sum by (namespace, pod) (kube_pod_status_phase{" + BOUTIQUES + ', phase=~"Pending|Unknown|Failed"}) > 0',
        "warning",
        "{{ $labels.namespace }}/{{ $labels.pod }} does not run",
        "boutique",
        for_factor=3,  # a pod that is being replaced is Pending for a while; that is no news
    ),
    Rule(
        "PodRestartTooMany",
        "sum by (namespace, pod) (increase(kube_pod_container_status_restarts_total{" + BOUTIQUES + "}[{counts}])) > 3",
        "warning",
        "{{ $labels.namespace }}/{{ $labels.pod }} restarted more than three times",
        "boutique",
    ),
    Rule(
        "RedisMemoryHigh",
        "max by (namespace, pod) (container_memory_working_set_bytes{"
        + BOUTIQUES
        + ', pod=~"redis-cart-.*", container!=""})'
        + " / max by (namespace, pod) (kube_pod_container_resource_limits{"
        + BOUTIQUES
        + ', pod=~"redis-cart-.*", resource="memory"}) > 0.9',
        "warning",
        "redis-cart in {{ $labels.namespace }} uses more than 90 % of its memory",
        "boutique",
    ),
    # The kubelet's own figures, not node-exporter's: where nodes are containers, the latter shows the whole machine.
    Rule(
        "NodeCPUHigh",
        'sum by (node) (rate(container_cpu_usage_seconds_total{id="/"}[{window}]))'
        " / on (node) max by (node) (machine_cpu_cores) > 0.9",
        "warning",
        "{{ $labels.node }} uses more than 90 % of its processors",
        "nodes",
    ),
    Rule(
        "NodeMemoryHigh",
        'max by (node) (container_memory_working_set_bytes{id="/"}) / on (node) max by (node) (machine_memory_bytes) > 0.9',
        "warning",
        "{{ $labels.node }} uses more than 90 % of its memory",
        "nodes",
    ),
    Rule(
        "NodeNotReady",
        'min by (node) (kube_node_status_condition{condition="Ready", status="true"}) == 0',
        "critical",
        "{{ $labels.node }} is not ready",
        "nodes",
    ),
    _job_down("KubeAPIDown", "kube-apiserver", "the Kubernetes API"),
    _job_down("CoreDNSDown", "coredns", "CoreDNS"),
    _job_down("IngressControllerDown", "ingress-nginx", "the ingress controller"),
    _job_down("ArgoCDDown", "argocd", "Argo CD's application controller"),
    _job_down("ArgoCDRepoServerDown", "argocd-repo-server", "Argo CD's repo server"),
    _job_down("KubeStateMetricsDown", "kube-state-metrics", "kube-state-metrics"),
    _job_down("AlertmanagerDown", "alertmanager", "Alertmanager"),
    _job_down("LokiDown", "loki", "Loki"),
    Rule(WATCHDOG, "vector(1)", "none", "alerting works; when this goes silent, it does not", "watchdog", for_factor=0),
)

# The scrape jobs whose loss makes somebody blind; the recorder says which of them are down.
JOBS = (
    "alertmanager",
    "argocd",
    "argocd-repo-server",
    "cadvisor",
    "coredns",
    "ingress-nginx",
    "kube-apiserver",
    "kube-state-metrics",
    "loki",
    "node-exporter",
    "prometheus",
)


def known_alerts() -> frozenset[str]:
    """The names that a contract may use."""
    return frozenset(rule.name for rule in RULES)


def alert_infos(profile: Profile) -> dict[str, AlertInfo]:
    """What contracts know of each alert under a profile: the Deployment it is about, its `for`, whether it has a namespace."""
    from harness.judge.contract import AlertInfo

    return {rule.name: AlertInfo(rule.app or None, rule.for_s(profile), rule.cluster_wide) for rule in RULES}


def alert_for_s(profile: Profile) -> dict[str, float]:
    """The `for` of every alert whose `for` is not the profile's own; the story records it with its timing."""
    return {rule.name: rule.for_s(profile) for rule in RULES if rule.for_s(profile) != profile.for_s}


def rule_file(profile: Profile, *, without: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    """What Prometheus loads, for a profile.

    Args:
        profile: gives `for`, the evaluation interval and the windows.
        without: alerts to leave out, for tests of the harness itself.
    """
    # A rate needs several scrapes; cAdvisor is scraped every 15 s at the most often.
    window_s = max(60.0, 4 * profile.scrape_s)
    counts_s = min(900.0, max(120.0, 12 * profile.for_s))
    groups: dict[str, list[dict[str, Any]]] = {}
    for rule in RULES:
        if rule.name in without:
            continue
        expr = rule.expr.replace("{window}", f"{window_s:.0f}s").replace("{counts}", f"{counts_s:.0f}s")
        groups.setdefault(rule.group, []).append(
            {
                "alert": rule.name,
                "expr": expr,
                "for": f"{rule.for_s(profile):.0f}s",
                "labels": {"severity": rule.severity},
                "annotations": {"summary": rule.summary},
            }
        )
    interval = f"{profile.eval_s:.0f}s"
    return {"groups": [{"name": name, "interval": interval, "rules": rules} for name, rules in groups.items()]}
