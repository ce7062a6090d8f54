"""What the history says of Kubernetes objects, of live against Git, and of an Application."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from observe_fakes import Notebook

from harness._errors import UsageError
from harness.kube import Manifest
from harness.observe.argocd import Application, app_facts
from harness.observe.k8s import Changes, deployment_facts, node_facts, pod_facts
from harness.observe.live import Live, differences


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    with contextlib.closing(Notebook(tmp_path)) as book:
        yield book


def pod(**status: Any) -> Manifest:
    return {
        "kind": "Pod",
        "metadata": {"name": "cart-1", "uid": "u1", "labels": {"app": "cartservice"}},
        "spec": {
            "nodeName": "w0",
            "containers": [{"image": "shop:1", "env": [{"name": "FRONTEND_MESSAGE", "value": "release:v7"}]}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"restartCount": 2, "state": {"running": {}}}],
            **status,
        },
    }


def test_a_pod_in_a_few_words() -> None:
    assert pod_facts(pod()) == {
        "name": "cart-1",
        "uid": "u1",
        "app": "cartservice",
        "phase": "Running",
        "ready": True,
        "deleting": False,
        "node": "w0",
        "restarts": 2,
        "reason": "",
        "image": "shop:1",
        "version": "v7",
    }


def test_a_pod_that_waits_says_why() -> None:
    waiting = [{"restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    assert pod_facts(pod(containerStatuses=waiting))["reason"] == "ImagePullBackOff"


def test_a_pod_that_is_gone_is_not_ready() -> None:
    facts = pod_facts(pod(), gone=True)
    assert (facts["phase"], facts["ready"], facts["deleting"]) == ("Gone", False, True)


def test_a_terminating_pod_is_told_from_one_that_stays() -> None:
    item = pod()
    item["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pod_facts(item)["deleting"] is True


def test_a_deployment_without_status_has_nothing_available() -> None:
    facts = deployment_facts({"metadata": {"name": "a", "uid": "u", "generation": 1}, "spec": {"replicas": 2}})
    assert (facts["desired"], facts["available"], facts["observed"]) == (2, 0, 0)


def test_a_node_that_stopped_reporting_is_not_ready() -> None:
    item = {
        "metadata": {"name": "w0"},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    }
    assert node_facts(item) == {"name": "w0", "ready": False, "schedulable": False}


def test_what_has_not_changed_for_the_history_is_not_written_again(notebook: Notebook) -> None:
    changes = Changes()
    changes.begin(notebook.history)
    item = pod()
    changes.pod("added", item)
    item["metadata"]["resourceVersion"] = "2"
    changes.pod("modified", item)
    changes.pod("deleted", item)
    assert [f["phase"] for f in notebook.facts("k8s", "pod")] == ["Running", "Gone"]


def endpoint_slice(uid: str, *ready: bool) -> Manifest:
    endpoints = [{"addresses": [f"10.0.0.{n}"], "conditions": {"ready": good}} for n, good in enumerate(ready)]
    labels = {"kubernetes.io/service-name": "cart"}
    return {"metadata": {"name": uid, "uid": uid, "labels": labels}, "endpoints": endpoints}


def test_ready_endpoints_are_counted_over_all_slices_of_a_service(notebook: Notebook) -> None:
    changes = Changes()
    changes.begin(notebook.history)
    changes.slice("added", endpoint_slice("s1", True, False))
    changes.slice("added", endpoint_slice("s2", True))
    changes.slice("deleted", endpoint_slice("s1", True, False))
    assert notebook.facts("k8s", "endpoints") == [{"service": "cart", "ready": n} for n in (1, 2, 1)]


DEPLOYMENT: Manifest = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "cart", "labels": {"app": "cart"}},
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "server",
                        "image": "cart:1",
                        "env": [{"name": "PORT", "value": "7070"}],
                        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                        "securityContext": {},
                    }
                ]
            }
        },
    },
}


def live_deployment(**changes: Any) -> Manifest:
    """As the API server gives it: with defaults, quantities in another spelling, and a status."""
    container = {
        "name": "server",
        "image": changes.get("image", "cart:1"),
        "env": [{"name": "PORT", "value": "7070"}, *changes.get("more_env", ())],
        "resources": {"requests": {"cpu": "0.1", "memory": "65536Ki"}},
        "terminationMessagePath": "/dev/termination-log",
    }
    available = changes.get("available", 1)
    return {
        "kind": "Deployment",
        "metadata": {"name": "cart", "labels": {"app": "cart", "more": "x"}, "generation": 2},
        "spec": {"replicas": changes.get("replicas", 1), "template": {"spec": {"containers": [container]}}},
        "status": {
            "observedGeneration": 2,
            "replicas": available,
            "availableReplicas": available,
            "updatedReplicas": available,
        },
    }


def test_defaults_and_other_spellings_are_no_difference() -> None:
    assert differences(DEPLOYMENT, live_deployment()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"replicas": 0}, "spec.replicas: 0 instead of 1"),
        ({"image": "cart:2"}, "spec.template.spec.containers[server].image: cart:2 instead of cart:1"),
        ({"more_env": [{"name": "X", "value": "1"}]}, "spec.template.spec.containers[server].env[X]: not in Git"),
    ],
)
def test_a_drift_is_named_by_its_field(change: dict[str, Any], said: str) -> None:
    assert differences(DEPLOYMENT, live_deployment(**change)) == [said]


def test_a_drifted_label_a_missing_list_and_a_wrong_quantity_are_seen() -> None:
    want = {
        "kind": "X",
        "metadata": {"name": "a", "labels": {"k": "v"}},
        "spec": {"list": [1, 2], "resources": {"limits": {"memory": "1Gi"}}, "on": True},
    }
    have = {"metadata": {"name": "a"}, "spec": {"list": [1], "resources": {"limits": {"memory": "1G"}}, "on": "True"}}
    assert len(differences(want, have)) == 4


def tell(live: Live, kind: str, *items: Manifest) -> None:
    listener = live.listener(kind)
    for item in items:
        listener.on_change("added", item)
    listener.on_sync()


def live_of(notebook: Notebook) -> Live:
    live = Live([DEPLOYMENT], "shop", "shop-app")
    live.start(notebook.history)
    return live


def test_nothing_is_said_before_every_kind_has_been_listed(notebook: Notebook) -> None:
    live = live_of(notebook)
    tell(live, "Deployment", live_deployment())
    tell(live, "Service")
    assert notebook.facts("live", "diff") == []
    tell(live, "ConfigMap")
    assert notebook.facts("live", "diff") == [{"equal": True, "healthy": True, "differing": [], "unhealthy": []}]


def test_drift_and_heal_are_two_steps_equal_first_healthy_later(notebook: Notebook) -> None:
    live = live_of(notebook)
    tell(live, "Deployment", live_deployment())
    tell(live, "Service")
    tell(live, "ConfigMap")
    changed = live.listener("Deployment").on_change
    changed("modified", live_deployment(replicas=0))
    changed("modified", live_deployment(replicas=0, available=0))
    changed("modified", live_deployment(available=0))
    changed("modified", live_deployment())
    states = [(f["equal"], f["healthy"]) for f in notebook.facts("live", "diff")]
    assert states == [(True, True), (False, True), (False, False), (True, False), (True, True)]


def test_a_deleted_object_differs_until_it_is_back(notebook: Notebook) -> None:
    live = live_of(notebook)
    for kind in live.kinds:
        tell(live, kind, *([live_deployment()] if kind == "Deployment" else []))
    live.listener("Deployment").on_change("deleted", live_deployment())
    assert notebook.facts("live", "diff")[-1]["differing"] == ["Deployment/cart is missing"]


def test_an_object_that_the_application_tracks_but_git_does_not_have_differs(notebook: Notebook) -> None:
    live = live_of(notebook)
    meta = {"name": "old", "annotations": {"argocd.argoproj.io/tracking-id": "shop-app:/Service:shop/old"}}
    tell(live, "Deployment", live_deployment())
    tell(live, "Service", {"kind": "Service", "metadata": meta}, {"kind": "Service", "metadata": {"name": "theirs"}})
    tell(live, "ConfigMap")
    assert notebook.facts("live", "diff")[-1]["differing"] == ["Service/old is not in Git"]


def test_a_push_changes_what_is_wanted(notebook: Notebook) -> None:
    live = live_of(notebook)
    for kind in live.kinds:
        tell(live, kind, *([live_deployment()] if kind == "Deployment" else []))
    pushed = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": 2}}
    live.set_desired([pushed])
    assert notebook.facts("live", "diff")[-1]["differing"] == ["Deployment/cart spec.replicas: 1 instead of 2"]


def test_a_kind_that_nobody_watches_is_refused() -> None:
    with pytest.raises(UsageError, match="Gizmo objects are not watched"):
        Live([{"kind": "Gizmo", "metadata": {"name": "x"}}], "shop", "app")


APPLICATION: Manifest = {
    "metadata": {"name": "shop"},
    "status": {
        "sync": {"status": "Synced", "revision": "abc"},
        "health": {"status": "Healthy"},
        "operationState": {
            "phase": "Succeeded",
            "startedAt": "1970-01-01T00:00:10Z",
            "finishedAt": "1970-01-01T00:00:12Z",
            "operation": {"sync": {"autoHealAttemptsCount": 3}},
            "syncResult": {"revision": "abc"},
        },
    },
}


def test_an_application_with_its_heal_attempts() -> None:
    facts = app_facts(APPLICATION)
    assert (facts["sync"], facts["health"], facts["revision"]) == ("Synced", "Healthy", "abc")
    assert (facts["operation_started_wall_s"], facts["operation_finished_wall_s"]) == (10.0, 12.0)
    assert facts["heal_attempts"] == 3


def test_an_application_is_written_on_change_only(notebook: Notebook) -> None:
    seen = Application()
    seen.start(notebook.history)
    seen.changed("added", APPLICATION)
    seen.changed("modified", APPLICATION)
    seen.changed("deleted", APPLICATION)
    assert [f["sync"] for f in notebook.facts("argocd", "app")] == ["Synced", ""]


def test_heal_attempts_outlive_the_operation_but_not_the_revision(notebook: Notebook) -> None:
    seen = Application()
    seen.start(notebook.history)
    status = {k: v for k, v in APPLICATION["status"].items() if k != "operationState"}
    seen.changed("added", APPLICATION)
    seen.changed("modified", {**APPLICATION, "status": status})
    seen.changed("modified", {**APPLICATION, "status": {**status, "sync": {"status": "OutOfSync", "revision": "def"}}})
    assert [f["heal_attempts"] for f in notebook.facts("argocd", "app")] == [3, 3, 0]
