"""The provider `attached`: opt-in first, an allow-list, least rights, what is impossible said before the run."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from harness._errors import ClusterError, TargetError, UsageError
from harness._run import Completed
from harness.clusters import _discover, _node_pod, attached
from harness.clusters._possible import faults_of, impossible, role, why_not
from harness.clusters.base import Cluster
from harness.config import Addresses, AttachedConfig
from harness.env import Env
from harness.faults import DriftScale, KeptDown, PodKill, Workload, catalogue
from harness.faults._kubectl import kubectl_undo
from harness.faults._model import HOST, Aim, FaultContext
from harness.faults._rights import check, rights, rules
from harness.targets import Allowed, Target

NODE = {
    "metadata": {"name": "n1", "labels": {attached.CONTROL_PLANE: ""}},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}], "nodeInfo": {"kubeletVersion": "v1.35"}},
}


@dataclass
class FakeKube:
    """Objects by kind; every question is written down."""

    objects: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    denied: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)

    def get(self, kind: str, name: str, namespace: str | None = None, api_version: str | None = None) -> Any:
        self.asked.append(f"get {kind}")
        return next((o for o in self.objects.get(kind, []) if o["metadata"]["name"] == name), None)

    def list(self, kind: str, namespace: str | None = None, **_: Any) -> list[dict[str, Any]]:
        self.asked.append(f"list {kind}")
        return self.objects.get(kind, [])

    def resource(self, kind: str, api_version: str | None = None) -> Any:
        def create(body: dict[str, Any], **_: Any) -> Any:
            if kind == "Pod":
                return SimpleNamespace(to_dict=lambda: {"metadata": {"name": "rh-node-x"}})
            what = body["spec"]["resourceAttributes"]
            allowed = f"{what['verb']} {what['resource']}" not in self.denied
            return SimpleNamespace(to_dict=lambda: {"status": {"allowed": allowed}})

        return SimpleNamespace(create=create)

    def delete(self, *args: Any, **_: Any) -> bool:
        self.asked.append("delete " + " ".join(map(str, args)))
        return True


def service(name: str, port: int, node_port: int = 0, *, given: str = "", label: str = "") -> dict[str, Any]:
    ingress = {"loadBalancer": {"ingress": [{"ip": given}]}} if given else {}
    ports = [{"name": "http", "port": port, **({"nodePort": node_port} if node_port else {})}]
    labels = {_discover.NAME_LABEL: label} if label else {}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"ports": ports}, "status": ingress}


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Env:
    monkeypatch.setenv("HARNESS_STATE_DIR", str(tmp_path / "state"))
    return Env("att")


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_text("CA")
    file = tmp_path / "config"
    file.write_text(
        yaml.safe_dump(
            {
                "current-context": "lab",
                "contexts": [
                    {"name": "lab", "context": {"cluster": "c1", "user": "u1"}},
                    {"name": "prod", "context": {"cluster": "c2", "user": "u2"}},
                ],
                "clusters": [
                    {"name": "c1", "cluster": {"server": "https://lab.test", "certificate-authority": "ca.crt"}},
                    {"name": "c2", "cluster": {"server": "https://prod.test"}},
                ],
                "users": [{"name": "u1", "user": {"token": "t1"}}, {"name": "u2", "user": {"token": "t2"}}],
            }
        )
    )
    return file


@pytest.fixture
def kube(monkeypatch: pytest.MonkeyPatch) -> FakeKube:
    fake = FakeKube()
    monkeypatch.setattr(attached, "Kube", lambda path: fake)
    return fake


def marker(**labels: str) -> dict[str, Any]:
    return {"metadata": {"name": _node_pod.NAMESPACE, "labels": labels}}


# Opt-in


def test_a_cluster_without_our_label_is_refused_before_anything_else_is_asked(
    env: Env, kube: FakeKube, kubeconfig: Path
) -> None:
    with pytest.raises(ClusterError, match="opt-in") as caught:
        attached.opted_in(env, AttachedConfig(kubeconfig=kubeconfig, context="prod"))
    assert kube.asked == ["get Namespace"]
    kubectl = f"kubectl --kubeconfig {kubeconfig} --context prod"
    assert caught.value.fix == (
        f"{kubectl} create namespace resilience-harness && "
        f"{kubectl} label namespace resilience-harness resilience-harness/opt-in=true"
    )
    assert list(env.state_dir.iterdir()) == [], "no credentials stay behind"


def test_the_namespace_alone_is_no_opt_in(env: Env, kube: FakeKube, kubeconfig: Path) -> None:
    kube.objects["Namespace"] = [marker()]
    with pytest.raises(ClusterError) as caught:
        attached.opted_in(env, AttachedConfig(kubeconfig=kubeconfig))
    assert caught.value.fix == (
        f"kubectl --kubeconfig {kubeconfig} label namespace resilience-harness resilience-harness/opt-in=true"
    )


def test_with_the_label_one_context_is_copied_for_us_alone(env: Env, kube: FakeKube, kubeconfig: Path) -> None:
    kube.objects["Namespace"] = [marker(**{attached.OPT_IN: "true"})]
    env.kubeconfig.write_text("that of a cluster of our own")
    attached.opted_in(env, AttachedConfig(kubeconfig=kubeconfig))
    copy = env.state_dir / "attached.kubeconfig"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "t1" in copy.read_text()
    assert "t2" not in copy.read_text()
    assert env.kubeconfig.read_text() == "that of a cluster of our own"


def test_files_named_in_a_kubeconfig_are_put_into_the_copy(kubeconfig: Path) -> None:
    cluster = attached.one_context(kubeconfig, "")["clusters"][0]["cluster"]
    assert cluster == {
        "server": "https://lab.test",
        "certificate-authority-data": base64.b64encode(b"CA").decode(),
    }


def test_an_unknown_context_is_refused_with_those_there_are(kubeconfig: Path) -> None:
    with pytest.raises(UsageError, match="no context 'nope'") as caught:
        attached.one_context(kubeconfig, "nope")
    assert caught.value.last == "lab, prod"


# Discovery


@pytest.mark.parametrize(
    ("found", "url"),
    [
        (service("prometheus", 9090, 30090), "http://192.0.2.1:30090"),
        (service("prometheus-k8s", 9090, given="192.0.2.9"), "http://192.0.2.9:9090"),
        (service("mine", 9090, 30001, label="prometheus"), "http://192.0.2.1:30001"),
        (service("prometheus", 9090), ""),
        (service("grafana", 3000, 30300), ""),
    ],
)
def test_a_component_is_found_by_name_or_label_where_this_machine_reaches_it(found: dict[str, Any], url: str) -> None:
    assert _discover.find_url(_discover.COMPONENTS[0], [found], "192.0.2.1") == url


def test_the_operator_calls_the_port_web() -> None:
    found = service("prometheus-k8s", 9090, 30090)
    web = {"name": "web", "port": 9090, "nodePort": 30091}
    found["spec"]["ports"] = [{"name": "reloader-web", "port": 8080, "nodePort": 30090}, web]
    assert _discover.find_url(_discover.COMPONENTS[0], [found], "192.0.2.1") == "http://192.0.2.1:30091"


def test_loki_may_be_absent_prometheus_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_discover, "answers", lambda url: "")
    kube = FakeKube({"Service": [service("prometheus", 9090, 1), service("alertmanager", 9093, 2)]})
    urls, states = _discover.discover(cast(Any, kube), {}, "192.0.2.1")
    assert urls["loki"] == ""
    assert states["loki"].startswith("absent: ")
    with pytest.raises(ClusterError, match="alertmanager cannot be reached") as caught:
        _discover.discover(cast(Any, FakeKube({"Service": kube.objects["Service"][:1]})), {}, "192.0.2.1")
    assert "attached.addresses.alertmanager" in caught.value.fix


def test_a_configured_address_is_used_and_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_discover, "answers", lambda url: "nobody there" if "loki" in url else "")
    given = {"prometheus": "http://p", "alertmanager": "http://a", "loki": "http://loki"}
    with pytest.raises(ClusterError, match="loki cannot be reached"):
        _discover.discover(cast(Any, FakeKube()), given, "")


# Configuration

GOOD = {"ingress": "https://127.0.0.1:8443", "receiver": "http://r:8080/", "git": "https://g/x"}


def wanted(**changes: str) -> AttachedConfig:
    return AttachedConfig(addresses=Addresses(**{**GOOD, **changes}))


def test_addresses_become_facts() -> None:
    facts = attached._facts(wanted(), {"prometheus": "http://p"})
    assert (facts["edge_port"], facts["receiver_api"], facts["git_url"]) == (8443, "http://r:8080", "https://g/x")
    assert facts["prometheus_api"] == "http://p"


@pytest.mark.parametrize("ingress", ["https://203.0.113.5:443", "http://127.0.0.1:80", "https://127.0.0.1"])
def test_load_goes_to_loopback_only(ingress: str) -> None:
    with pytest.raises(UsageError, match=r"attached\.addresses\.ingress"):
        attached._facts(wanted(ingress=ingress), {})


@pytest.mark.parametrize("key", ["ingress", "receiver", "git"])
def test_an_address_that_is_needed_is_named(key: str) -> None:
    with pytest.raises(UsageError, match=rf"attached\.addresses\.{key} is not set"):
        attached._facts(wanted(**{key: ""}), {})


def test_a_password_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="others can read"):
        attached._password(file)
    file.chmod(0o600)
    assert attached._password(file) == "secret"


def test_a_node_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no node is called n9"):
        attached._check_nodes(AttachedConfig(nodes=("n1", "n9")), [NODE])


# The allow-list, and what is impossible


@pytest.mark.parametrize(
    ("name", "nodes", "why"),
    [
        ("pod.kept-down", (), ""),
        ("gitops.drift-scale", (), ""),
        ("pod.pause", (), "attached.nodes is empty"),
        ("pod.pause", ("n1",), ""),
        ("node.reboot", ("n1",), "no power switch"),
        ("node.kubelet-stop", ("n1",), "takes away what a node of an attached cluster is entered by"),
        ("gitops.git-server-down", ("n1",), "not ours"),
        ("platform.loki-down", ("n1",), "namespace monitoring, which is not in attached.namespaces"),
    ],
)
def test_what_is_impossible_is_said(name: str, nodes: tuple[str, ...], why: str) -> None:
    said = impossible(catalogue()[name], AttachedConfig(nodes=nodes))
    assert (why in said) if why else said == ""


def _scenario_with_pause() -> None:
    KeptDown(target=Workload("boutique-a", "cartservice"))
    PodKill(target=Workload("boutique-a", "cartservice"))


def test_a_scenario_is_skipped_for_the_faults_that_its_code_names() -> None:
    assert {k.__name__ for k in faults_of(_scenario_with_pause)} == {"KeptDown", "PodKill"}
    assert why_not(_scenario_with_pause, AttachedConfig()) == ""


def test_namespaces_are_matched_by_pattern() -> None:
    cluster = Cluster("attached", Path("k"), (), namespaces=("boutique-*", "shop"))
    assert [cluster.allows(n) for n in ("boutique-a", "shop", "shop2", "kube-system")] == [True, True, False, False]


def test_a_cluster_without_nodes_has_no_control_plane_to_touch() -> None:
    with pytest.raises(TargetError, match="no control-plane node"):
        _ = Cluster("attached", Path("k"), ()).control_plane


# Rights


def test_every_fault_of_the_api_names_rights_that_can_be_read() -> None:
    for name, kind in catalogue().items():
        assert kind.api or kind.needs, f"{name}: neither the API nor a node: how does it do it?"
        for right in rights(kind.api):
            assert right.verb in {"create", "delete", "patch", "update"}, name


def test_a_right_is_read_with_group_and_subresource() -> None:
    assert rules(["patch deployments.apps/scale", "create,delete pods"], cluster_wide=False) == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
    ]


def test_the_role_gives_changes_only_in_allowed_namespaces_and_never_reads_secrets() -> None:
    found = role([KeptDown], ["boutique-a"])
    by_place = {(m["kind"], m["metadata"].get("namespace", "")): m for m in found if "rules" in m}
    everywhere = [(r["resources"][0], v) for r in by_place["ClusterRole", ""]["rules"] for v in r["verbs"]]
    changes = {resource for resource, verb in everywhere if verb not in ("get", "list", "watch")}
    assert changes == {"validatingadmissionpolicies", "validatingadmissionpolicybindings"}
    assert all("secrets" not in r["resources"] or set(r["verbs"]) == {"create", "patch"} for r in _rules(found))
    assert {r["resources"][0] for r in by_place["Role", "boutique-a"]["rules"]} == {"pods", "replicasets", "secrets"}
    assert ("Role", _node_pod.NAMESPACE) not in by_place, "no node fault was asked for"


def _rules(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for m in manifests for rule in m.get("rules", [])]


def context(kube: FakeKube, **cluster: Any) -> FaultContext:
    made = Cluster("attached", Path("k"), (), **cluster)
    return FaultContext(env=Env("att"), kube=cast(Any, kube), cluster=made, allowed=Allowed(frozenset({"boutique-a"})))


def test_a_missing_right_is_named_with_the_command_that_gives_it() -> None:
    fault = DriftScale(target=Workload("boutique-a", "adservice"), replicas=0)
    aim = Aim((Target("Deployment", "boutique-a", "adservice", "u"),), "scale")
    check(context(FakeKube()), fault, aim)
    with pytest.raises(TargetError, match="nothing was touched") as caught:
        check(context(FakeKube(denied=("patch statefulsets",))), fault, aim)
    assert "patch statefulsets.apps in boutique-a" in str(caught.value.last)
    assert "patch statefulsets.apps/scale in boutique-a" in str(caught.value.last)
    assert "harness attached role gitops.drift-scale" in caught.value.fix


def test_api_objects_of_an_attached_cluster_are_undone_from_this_machine() -> None:
    undo = kubectl_undo(context(FakeKube(), kubectl=("/x/kubectl", "--kubeconfig", "/x/k")), "k delete pod a")
    assert undo.where == HOST
    assert "/x/kubectl --kubeconfig /x/k --request-timeout=5s" in undo.script


# Leaving


def test_what_the_account_may_not_remove_is_left_to_an_administrator_by_name(
    env: Env, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forbidden(Exception):
        status, reason = 403, "Forbidden"

    def refuse(*_: Any, **__: Any) -> bool:
        raise Forbidden

    kube.objects["Namespace"] = [{"metadata": {"name": "boutique-a"}}]
    monkeypatch.setattr(kube, "delete", refuse)
    copy = env.state_dir / "attached.kubeconfig"
    copy.touch()
    with pytest.raises(ClusterError, match="could not be removed") as caught:
        attached.down(env)
    assert caught.value.last == "403 Forbidden"
    assert "kubectl delete namespaces -l resilience-harness/env=att" in caught.value.fix
    assert copy.exists(), "it is needed to try again"


def test_leaving_removes_what_we_made_and_our_credentials(env: Env, kube: FakeKube) -> None:
    (env.state_dir / "attached.kubeconfig").touch()
    attached.down(env)
    assert kube.asked == ["list Pod", "list Application", "list Application", "list Namespace", "list Namespace"]
    assert not (env.state_dir / "attached.kubeconfig").exists()
    attached.down(env)  # again, with nothing there


# Nodes by a pod


def test_a_node_is_entered_through_one_pod_that_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = FakeKube({"Pod": [{"metadata": {"name": "rh-node-x"}, "status": {"phase": "Running"}}]})
    ran: list[list[str]] = []
    leaving: list[Any] = []
    done = Completed((), 0, "", "", 0.0)
    monkeypatch.setattr(_node_pod, "run", lambda args, **_: (ran.append(list(args)), done)[1])
    monkeypatch.setattr(_node_pod.atexit, "register", lambda *args: leaving.append(args))
    pods = _node_pod.NodePods(cast(Any, kube), "busybox")
    node = _node_pod.PodNode("n1", "worker", pods, ("kubectl", "--kubeconfig", "k"))
    node.run(["true"])
    node.run(["sh"], stdin="true")
    exec_ = ["kubectl", "--kubeconfig", "k", "exec"]
    tail = ["-n", "resilience-harness", "rh-node-x", "--", *_node_pod.ENTER]
    assert ran == [[*exec_, *tail, "true"], [*exec_, "-i", *tail, "sh"]]
    leaving[0][0](*leaving[0][1:])
    assert kube.asked[-1] == "delete Pod rh-node-x resilience-harness"


def test_the_pod_on_a_node_ends_by_itself() -> None:
    spec = _node_pod.manifest("n1", "busybox")["spec"]
    assert spec["activeDeadlineSeconds"] == _node_pod.LIFE_S > 2 * 60
    assert (spec["nodeName"], spec["hostPID"], spec["automountServiceAccountToken"]) == ("n1", True, False)


@pytest.mark.parametrize("verb", ["power_off", "power_on", "reboot"])
def test_there_is_no_power_switch(verb: str) -> None:
    node = _node_pod.PodNode("n1", "worker", _node_pod.NodePods(cast(Any, FakeKube()), "x"), ())
    with pytest.raises(TargetError, match="no power switch"):
        getattr(node, verb)()
