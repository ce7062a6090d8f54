"""What Kubernetes knows of the blast radius: pods, Deployments, endpoints, nodes, events, Services; each change once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness._clock import parse_utc
from harness.boutique.topology import release_in
from harness.history import HistoryWriter
from harness.kube import Manifest
from harness.observe._http import Endpoint
from harness.observe.recorder import Recorder
from harness.observe.watch import Delay, Heartbeat, OnChange, Watch


class Changes:
    """Writes what watches tell, when what the history says of an object has changed."""

    def __init__(self, delay: Delay | None = None) -> None:
        self._delay = delay or Delay()
        self._history: HistoryWriter | None = None
        self._said: dict[tuple[str, str], dict[str, Any]] = {}
        self._slices: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()

    def begin(self, history: HistoryWriter) -> None:
        """Write into `history` from now on."""
        self._history = history

    def pod(self, change: str, item: Manifest) -> None:
        """A pod changed."""
        self._say("pod", item["metadata"]["uid"], pod_facts(item, gone=change == "deleted"))

    def deployment(self, change: str, item: Manifest) -> None:
        """A Deployment changed."""
        self._say("deployment", item["metadata"]["uid"], deployment_facts(item, gone=change == "deleted"))
        if change != "modified":
            self._object(change, item)

    def service(self, change: str, item: Manifest) -> None:
        """A Service changed, or another object of which only the change itself matters."""
        self._object(change, item)

    def slice(self, change: str, item: Manifest) -> None:
        """An EndpointSlice changed: the ready addresses of its Service are counted over all its slices."""
        meta = item["metadata"]
        service = (meta.get("labels") or {}).get("kubernetes.io/service-name", meta["name"])
        with self._lock:
            slices = self._slices.setdefault(service, {})
            if change == "deleted":
                slices.pop(meta["uid"], None)
            else:
                slices[meta["uid"]] = _ready_addresses(item)
            ready = sum(slices.values())
        self._say("endpoints", service, {"service": service, "ready": ready})

    def node(self, change: str, item: Manifest) -> None:
        """A node changed."""
        self._say("node", item["metadata"]["name"], node_facts(item, gone=change == "deleted"))

    def event(self, change: str, item: Manifest) -> None:
        """An event came in, or its count went up."""
        if self._history is None or change == "deleted":
            return
        regarding = item.get("involvedObject") or {}
        happened = item.get("lastTimestamp") or item.get("eventTime") or item["metadata"].get("creationTimestamp")
        self._history.mark(
            "k8s",
            "event",
            kind=regarding.get("kind", ""),
            name=regarding.get("name", ""),
            reason=item.get("reason", ""),
            message=str(item.get("message", ""))[:500],
            type=item.get("type", ""),
            count=item.get("count") or 1,
            happened_wall_s=parse_utc(happened) if happened else None,
        )

    def _object(self, change: str, item: Manifest) -> None:
        if self._history is not None:
            meta = item["metadata"]
            self._history.mark(
                "k8s",
                "object",
                err_s=self._delay.err_s,
                kind=item.get("kind", ""),
                name=meta["name"],
                uid=meta["uid"],
                change=change,
            )

    def _say(self, event: str, key: str, facts: dict[str, Any]) -> None:
        with self._lock:
            if self._history is None or self._said.get((event, key)) == facts:
                return
            self._said[event, key] = facts
            self._history.mark("k8s", event, err_s=self._delay.err_s, **facts)


class _Begin(Recorder):
    """Gives the history to what the watches tell; comes before them."""

    def __init__(self, changes: Changes) -> None:
        super().__init__("k8s")
        self._changes = changes
        self.ready.set()

    def start(self, history: HistoryWriter) -> None:
        """No thread is needed."""
        self._changes.begin(history)


@dataclass(frozen=True)
class Listener:
    """Somebody else who is told what a watch sees, so that one watch serves both."""

    on_change: OnChange
    on_sync: Callable[[], None]


def kubernetes(
    api: Endpoint,
    namespaces: Sequence[str],
    *,
    also: Mapping[str, Listener] | None = None,
) -> list[Recorder]:
    """Recorders of the nodes and of all that matters in `namespaces`, and a heartbeat.

    Args:
        api: where the API is.
        namespaces: the blast radius; the first is the Boutique's.
        also: by resource, who else is told of the changes in the first namespace.
    """
    delay = Delay()
    changes = Changes(delay)
    found: list[Recorder] = [_Begin(changes), Watch(api, "/api/v1/nodes", "nodes", changes.node)]
    for namespace in namespaces:
        core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
        discovery = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}"
        plan: tuple[tuple[str, str, OnChange], ...] = (
            (core, "pods", changes.pod),
            (apps, "deployments", changes.deployment),
            (core, "services", changes.service),
            (discovery, "endpointslices", changes.slice),
            (core, "events", changes.event),
        )
        for root, resource, tell in plan:
            first = namespace == namespaces[0]
            name = resource if first else f"{namespace}/{resource}"
            other = (also or {}).get(resource) if first else None
            found.append(
                Watch(
                    api,
                    f"{root}/{resource}",
                    name,
                    _both(tell, other.on_change) if other else tell,
                    skip_old=resource == "events",
                    on_sync=other.on_sync if other else lambda: None,
                )
            )
    watches = [recorder for recorder in found if isinstance(recorder, Watch)]
    return [*found, Heartbeat("k8s", api, f"/api/v1/namespaces/{namespaces[0]}", watches, delay)]


def _both(one: OnChange, other: OnChange) -> OnChange:
    def tell(change: str, item: Manifest) -> None:
        one(change, item)
        other(change, item)

    return tell


def pod_facts(pod: Manifest, *, gone: bool = False) -> dict[str, Any]:
    """What the history says of a pod; one that is gone is neither ready nor coming back."""
    meta, status = pod["metadata"], pod.get("status") or {}
    labels = meta.get("labels") or {}
    containers = list(status.get("containerStatuses") or ())
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    return {
        "name": meta["name"],
        "uid": meta["uid"],
        "app": labels.get("app") or labels.get("app.kubernetes.io/name", ""),
        "phase": "Gone" if gone else status.get("phase", ""),
        "ready": ready and not gone,
        "deleting": gone or "deletionTimestamp" in meta,
        "node": (pod.get("spec") or {}).get("nodeName", ""),
        "restarts": sum(c.get("restartCount", 0) for c in containers),
        "reason": _reason(status, containers),
        "image": ", ".join(c.get("image", "") for c in (pod.get("spec") or {}).get("containers", ())),
        "version": _version(pod) or labels.get("app.kubernetes.io/version", ""),
    }


def _version(pod: Manifest) -> str:
    """The release that its environment makes it show to users."""
    for container in (pod.get("spec") or {}).get("containers", ()):
        for variable in container.get("env") or ():
            found = release_in(str(variable.get("value", "")))
            if found:
                return found
    return ""


def _reason(status: Manifest, containers: Sequence[Manifest]) -> str:
    """Why it does not run, if it does not."""
    for container in containers:
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            reason = (state.get(kind) or {}).get("reason")
            if reason:
                return str(reason)
    return str(status.get("reason", ""))


def deployment_facts(item: Manifest, *, gone: bool = False) -> dict[str, Any]:
    """What the history says of a Deployment."""
    meta, status, spec = item["metadata"], item.get("status") or {}, item.get("spec") or {}
    return {
        "name": meta["name"],
        "uid": meta["uid"],
        "desired": 0 if gone else spec.get("replicas", 1),
        "ready": 0 if gone else status.get("readyReplicas", 0),
        "available": 0 if gone else status.get("availableReplicas", 0),
        "updated": 0 if gone else status.get("updatedReplicas", 0),
        "generation": meta.get("generation", 0),
        "observed": status.get("observedGeneration", 0),
        **({"gone": True} if gone else {}),
    }


def node_facts(item: Manifest, *, gone: bool = False) -> dict[str, Any]:
    """What the history says of a node."""
    conditions = (item.get("status") or {}).get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    schedulable = not (item.get("spec") or {}).get("unschedulable", False)
    return {"name": item["metadata"]["name"], "ready": ready and not gone, "schedulable": schedulable and not gone}


def _ready_addresses(item: Manifest) -> int:
    endpoints = item.get("endpoints") or ()
    return sum(len(e.get("addresses") or ()) for e in endpoints if (e.get("conditions") or {}).get("ready", True))
