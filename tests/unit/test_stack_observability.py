"""The monitoring stack's manifests and rules, without a cluster."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness._errors import ClusterError
from harness.boutique.topology import ALERTS
from harness.judge.profiles import PROFILES, Profile
from harness.kube import Manifest
from harness.stack import _monitoring as monitoring
from harness.stack import rules
from harness.stack.base import render

VALUES: dict[str, dict[str, Any]] = {
    "prometheus": {"node_port": 30090, "cadvisor_every_s": 15.0, "resend_s": 10.0},
    "alertmanager": {
        "node_port": 30093,
        "receiver_url": "http://192.0.2.1:8080/alertmanager",
        "watchdog": rules.WATCHDOG,
        "watchdog_repeat_s": 30.0,
    },
    "loki": {"node_port": 30100},
    "kube-state-metrics": {},
    "node-exporter": {},
    "promtail": {},
}


def rendered(component: str, profile: Profile) -> list[Manifest]:
    values = dict(VALUES[component])
    if component == "prometheus":
        values["rules"] = json.dumps(rules.rule_file(profile))
    return render(component, namespace="monitoring", profile=profile, node="cp", image="example/image:1", **values)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("component", VALUES)
def test_manifests_render_with_the_image_of_the_bundle_and_small_requests(component: str, profile: Profile) -> None:
    workloads = [m for m in rendered(component, profile) if m["kind"] in {"Deployment", "DaemonSet"}]
    assert len(workloads) == 1
    for container in workloads[0]["spec"]["template"]["spec"]["containers"]:
        assert container["image"] == "example/image:1"
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert int(container["resources"]["requests"]["cpu"].removesuffix("m")) <= 20
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("component", ["prometheus", "alertmanager", "loki", "kube-state-metrics"])
def test_what_watches_the_workers_does_not_run_on_them(component: str) -> None:
    pod = next(m for m in rendered(component, PROFILES["fast"]) if m["kind"] == "Deployment")["spec"]["template"][
        "spec"
    ]
    assert pod["nodeSelector"] == {"kubernetes.io/hostname": "cp"}
    assert pod["tolerations"][0]["key"] == "node-role.kubernetes.io/control-plane"


@pytest.mark.parametrize(("name", "pace"), [("fast", "5s"), ("reference", "15s"), ("stock", "30s")])
def test_prometheus_goes_at_the_profiles_pace(name: str, pace: str) -> None:
    config = next(m for m in rendered("prometheus", PROFILES[name]) if m["kind"] == "ConfigMap")["data"]
    settings = yaml.safe_load(config["prometheus.yml"])
    assert settings["global"]["scrape_interval"] == pace
    assert settings["global"]["evaluation_interval"] == pace
    assert {job["job_name"] for job in settings["scrape_configs"]} >= set(rules.JOBS)
    for job in settings["scrape_configs"]:
        timeout = job.get("scrape_timeout", settings["global"]["scrape_timeout"])
        interval = job.get("scrape_interval", pace)
        assert int(timeout.removesuffix("s")) <= int(interval.removesuffix("s"))


def test_alertmanager_waits_as_the_profile_says_and_repeats_the_watchdog() -> None:
    profile = PROFILES["fast"]
    config = next(m for m in rendered("alertmanager", profile) if m["kind"] == "ConfigMap")["data"]
    route = yaml.safe_load(config["alertmanager.yml"])["route"]
    assert route["group_by"] == ["alertname", "namespace"]
    assert (route["group_wait"], route["group_interval"]) == (
        f"{profile.group_wait_s:.0f}s",
        f"{profile.resolve_s:.0f}s",
    )
    assert route["routes"][0]["repeat_interval"] == "30s"


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_rules_take_their_for_from_the_profile(profile: Profile) -> None:
    loaded = {r["alert"]: r for g in rules.rule_file(profile)["groups"] for r in g["rules"]}
    assert loaded["CartServiceDown"]["for"] == f"{profile.for_s:.0f}s"
    assert loaded["PodNotRunning"]["for"] == f"{3 * profile.for_s:.0f}s"
    assert loaded["NodeCPUHigh"]["for"] == f"{profile.alert_for_s['NodeCPUHigh']:.0f}s"
    assert loaded["Watchdog"]["for"] == "0s"
    assert not any("{window}" in r["expr"] or "{counts}" in r["expr"] for r in loaded.values())


def test_every_alert_that_the_shop_names_has_a_rule() -> None:
    assert set(ALERTS) <= rules.known_alerts()


def test_a_rule_can_be_left_out_to_test_the_harness() -> None:
    kept = rules.rule_file(PROFILES["fast"], without=frozenset({"CartServiceDown"}))
    assert "CartServiceDown" not in json.dumps(kept)
    assert "FrontendDown" in json.dumps(kept)


def test_budgets_learn_which_alerts_wait_longer() -> None:
    profile = PROFILES["fast"]
    told = profile.with_timing({"alert_for_s": rules.alert_for_s(profile)})
    assert told.for_of("PodNotRunning") == 30
    assert told.for_of("CartServiceDown") == 10


def test_a_changed_configuration_restarts_the_pods() -> None:
    def mark(profile: str) -> str:
        marked = monitoring.mark_config(rendered("alertmanager", PROFILES[profile]))
        deployment = next(m for m in marked if m["kind"] == "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"][monitoring.CONFIG_MARK])

    assert mark("fast") == mark("fast")
    assert mark("fast") != mark("reference")


class FakeKube:
    def __init__(self, nodes: list[Manifest]) -> None:
        self.nodes = nodes

    def list(self, kind: str) -> list[Manifest]:
        assert kind == "Node"
        return self.nodes


def node(name: str, address: str, *, control_plane: bool = False) -> Manifest:
    labels = {"node-role.kubernetes.io/control-plane": ""} if control_plane else {}
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]
    return {"metadata": {"name": name, "labels": labels}, "status": {"addresses": addresses}}


def test_node_ports_are_asked_on_the_control_plane() -> None:
    kube: Any = FakeKube([node("a", "192.0.2.1"), node("b", "192.0.2.2", control_plane=True)])
    assert monitoring.node_url(kube, 30090) == "http://192.0.2.2:30090"


def test_no_node_is_an_error() -> None:
    kube: Any = FakeKube([])
    with pytest.raises(ClusterError, match="no node has an address"):
        monitoring.node_url(kube, 30090)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_contracts_learn_of_each_alert_what_it_is_about(profile: Profile) -> None:
    infos = rules.alert_infos(profile)
    assert set(infos) == rules.known_alerts()
    assert {name: info.app for name, info in infos.items() if info.app} == ALERTS
    assert infos["PodNotRunning"].for_s == 3 * profile.for_s
    assert not infos["PodNotRunning"].cluster_wide
    assert all(infos[name].cluster_wide for name in ("NodeNotReady", "ArgoCDDown", rules.WATCHDOG))


def test_only_rules_about_a_boutique_carry_its_namespace() -> None:
    for rule in rules.RULES:
        assert rule.cluster_wide == (rules.BOUTIQUES not in rule.expr), rule.name


def test_the_page_about_alerts_says_what_the_rules_say() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/alerts.md").read_text()
    rows = {
        name: (severity, per_boutique.strip() == "yes", [float(t.removesuffix(" s")) for t in times.split(" / ")])
        for name, severity, per_boutique, times in re.findall(
            r"^\| `(\w+)` \| (\w+) \| .* \| (yes|) ?\| ([^|]+) \|$", page, flags=re.MULTILINE
        )
    }
    profiles = PROFILES.values()
    assert rows == {r.name: (r.severity, not r.cluster_wide, [r.for_s(p) for p in profiles]) for r in rules.RULES}
