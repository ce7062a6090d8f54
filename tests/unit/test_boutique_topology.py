"""The manifests in deploy/boutique say what harness/boutique/topology.py says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from harness.boutique import topology
from harness.boutique.topology import EDGES, SERVICES

ROOT = Path(__file__).parents[2] / "deploy" / "boutique"
Doc = dict[str, Any]


def load(path: Path) -> list[Doc]:
    return [doc for doc in yaml.safe_load_all(path.read_text()) if doc]


BASE: list[Doc] = [
    doc
    for name in yaml.safe_load((ROOT / "base/kustomization.yaml").read_text())["resources"]
    for doc in load(ROOT / "base" / name)
]


def of(kind: str, docs: list[Doc] | None = None) -> dict[str, Doc]:
    return {d["metadata"]["name"]: d for d in (BASE if docs is None else docs) if d["kind"] == kind}


def allowed(policies: dict[str, Doc]) -> tuple[set[tuple[str, str, int]], set[tuple[str, str, int]]]:
    """The (caller, callee, port) that egress rules allow, and those that ingress rules allow."""
    out: set[tuple[str, str, int]] = set()
    into: set[tuple[str, str, int]] = set()
    for policy in policies.values():
        me = policy["spec"]["podSelector"].get("matchLabels", {}).get("app")
        if me is None:
            continue
        for rule in policy["spec"].get("egress", []):
            out |= {(me, app, p["port"]) for app in apps(rule["to"]) for p in rule["ports"]}
        for rule in policy["spec"].get("ingress", []):
            into |= {(app, me, p["port"]) for app in apps(rule["from"]) for p in rule["ports"]}
    return out, into


def apps(peers: list[Doc]) -> Iterator[str]:
    for peer in peers:
        if "podSelector" in peer and "namespaceSelector" not in peer:
            yield peer["podSelector"]["matchLabels"]["app"]


def wanted_edges() -> set[tuple[str, str, int]]:
    return {(e.caller, e.callee, SERVICES[e.callee].port) for e in EDGES}


def faults_of_policies(policies: dict[str, Doc]) -> list[str]:
    out, into = allowed(policies)
    wrong = [f"{e} not allowed {way}" for way, rules in (("out", out), ("in", into)) for e in wanted_edges() - rules]
    return wrong + [f"{e} allowed {way}" for way, rules in (("out", out), ("in", into)) for e in rules - wanted_edges()]


def test_every_service_has_its_objects() -> None:
    for kind in ("Deployment", "Service", "ServiceAccount"):
        assert set(of(kind)) == set(SERVICES), kind
    assert set(of("NetworkPolicy")) == {*SERVICES, "default-deny", "allow-dns"}


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda s: s.name)
def test_ports_labels_and_probes(service: topology.Service) -> None:
    deployment, svc = of("Deployment")[service.name]["spec"], of("Service")[service.name]["spec"]
    pod = deployment["template"]
    (container,) = pod["spec"]["containers"]
    assert (
        deployment["selector"]["matchLabels"] == pod["metadata"]["labels"] == svc["selector"] == {"app": service.name}
    )
    assert (svc["ports"][0]["port"], svc["ports"][0]["targetPort"]) == (service.service_port, service.port)
    assert container["ports"][0]["containerPort"] == service.port
    assert deployment["replicas"] == service.replicas("stock")
    action = {"http": "httpGet", "redis": "tcpSocket", "grpc": "grpc"}[service.protocol]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe][action]["port"] == service.port
    assert pod["spec"]["serviceAccountName"] == service.name


def test_addresses_in_the_environment_are_the_edges() -> None:
    found = set()
    for name, deployment in of("Deployment").items():
        for var in deployment["spec"]["template"]["spec"]["containers"][0].get("env", []):
            host, _, port = var["value"].partition(":")
            if var["name"].endswith("_ADDR") and host in SERVICES:
                assert int(port) == SERVICES[host].service_port, var
                found.add((name, host))
    assert found == {(e.caller, e.callee) for e in EDGES}


def test_policies_allow_the_edges_and_nothing_else() -> None:
    assert faults_of_policies(of("NetworkPolicy")) == []


def drop_egress(policies: dict[str, Doc]) -> None:
    policies["cartservice"]["spec"]["egress"].clear()


def wrong_port(policies: dict[str, Doc]) -> None:
    policies["emailservice"]["spec"]["ingress"][0]["ports"][0]["port"] = 5000


def stranger(policies: dict[str, Doc]) -> None:
    peer = {"podSelector": {"matchLabels": {"app": "adservice"}}}
    policies["paymentservice"]["spec"]["ingress"][0]["from"].append(peer)


@pytest.mark.parametrize("spoil", [drop_egress, wrong_port, stranger])
def test_the_policy_check_notices(spoil: Callable[[dict[str, Doc]], None]) -> None:
    policies = of("NetworkPolicy", load(ROOT / "base/network-policies.yaml"))
    spoil(policies)
    assert faults_of_policies(policies)


def test_only_the_ingress_controller_comes_in_from_outside() -> None:
    outside = {
        (name, peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
        for name, policy in of("NetworkPolicy").items()
        for rule in policy["spec"].get("ingress", [])
        for peer in rule["from"]
        if "namespaceSelector" in peer
    }
    assert outside == {("frontend", topology.INGRESS_NAMESPACE)}
    assert of("NetworkPolicy")["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_hardened_replicates_and_budgets_what_has_no_state() -> None:
    folder = ROOT / "overlays/hardened"
    overlay = yaml.safe_load((folder / "kustomization.yaml").read_text())
    (replicated,) = [p for p in overlay["patches"] if p["path"] == "replicated.yaml"]
    patched = {name for name in SERVICES if re.fullmatch(replicated["target"]["name"], name)}
    stateless = {s.name for s in SERVICES.values() if s.replicas("hardened") == 2}
    budgets = load(folder / "disruption-budgets.yaml")
    assert patched == stateless == set(of("PodDisruptionBudget", budgets)) == set(SERVICES) - {"redis-cart"}
    assert {r["source"]["name"] for r in overlay["replacements"]} == stateless
    (count,) = [op for op in yaml.safe_load((folder / "replicated.yaml").read_text()) if op["path"] == "/spec/replicas"]
    assert count["value"] == SERVICES["cartservice"].replicas("hardened")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kustomize is needed to render overlays")
@pytest.mark.parametrize("overlay", topology.OVERLAYS)
def test_overlays_render(overlay: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / "overlays" / overlay)], capture_output=True, check=True, timeout=30
    )
    docs = [doc for doc in yaml.safe_load_all(done.stdout) if doc]
    for name, deployment in of("Deployment", docs).items():
        assert deployment["spec"]["replicas"] == SERVICES[name].replicas(overlay)
        pod = deployment["spec"]["template"]["spec"]
        spread = pod.get("topologySpreadConstraints", [])
        assert [s["labelSelector"]["matchLabels"]["app"] for s in spread] == [name] * (
            deployment["spec"]["replicas"] - 1
        )
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
        patient = {"name": "RPC_RETRY", "value": "on"} in pod["containers"][0].get("env", [])
        assert patient == (
            overlay == "hardened"
            and any(v["name"].endswith("SERVICE_ADDR") for v in pod["containers"][0].get("env", []))
        )


def test_the_instance_template_sets_what_differs() -> None:
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(  # noqa: S701
        (ROOT / "instance/kustomization.yaml.j2").read_text()
    )
    facts = {
        "namespace": "boutique-a",
        "host": "shop.a.test",
        "overlay": "stock",
        "version": "v2",
        "frontend_tag": "1.0",
    }
    doc = yaml.safe_load(template.render(facts))
    assert (doc["namespace"], doc["resources"]) == ("boutique-a", ["../overlays/stock"])
    assert doc["images"][0]["newTag"] == "1.0"
    assert [op["value"] for op in yaml.safe_load(doc["patches"][0]["patch"])] == ["shop.a.test"] * 2
    env = yaml.safe_load(doc["patches"][1]["patch"])["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "FRONTEND_MESSAGE", "value": "release:v2"}]


def test_the_secret_of_the_ingress() -> None:
    assert of("Ingress")["frontend"]["spec"]["tls"][0]["secretName"] == topology.TLS_SECRET


def test_what_a_loss_breaks() -> None:
    assert topology.broken_pages("paymentservice") == {"check-out"}
    assert topology.broken_pages("redis-cart") == topology.broken_pages("frontend") == set(topology.PAGES)
    assert topology.broken_pages("cartservice") == set(topology.PAGES)
    assert not topology.broken_pages("adservice")
    assert topology.alerts_of_loss("redis-cart") == {"RedisCartDown", "CartServiceDown"}
    assert topology.alerts_of_loss("adservice") == frozenset()
    assert topology.ALERTS["PaymentServiceDown"] == "paymentservice"
    assert set(topology.callers("shippingservice")) == {"frontend", "checkoutservice"}
    assert topology.callees("recommendationservice") == ("productcatalogservice",)


@pytest.mark.parametrize(
    ("short", "name"), [("cart", "cartservice"), ("redis", "redis-cart"), ("frontend", "frontend"), ("ad", "adservice")]
)
def test_short_names(short: str, name: str) -> None:
    assert topology.service(short).name == name


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match="no service 'basket'"):
        topology.service("basket")
    with pytest.raises(ValueError, match="no overlay 'soft'"):
        SERVICES["frontend"].replicas("soft")


@pytest.mark.parametrize(
    ("page", "version"),
    [("<p>release:v1.2-rc.1</p>", "v1.2-rc.1"), ("<p>released</p>", None), ("<div>\n release:7\n</div>", "7")],
)
def test_release_in_a_page(page: str, version: str | None) -> None:
    assert topology.release_in(page) == version
