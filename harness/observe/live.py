"""Live objects against Git, by our own comparison: Argo CD's word alone proves nothing.

Every field that Git states must have that value in the live object; fields that Git does not state are free. Empty
values and missing ones are the same, quantities are compared by value, list items by their name.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from harness._errors import UsageError
from harness.history import HistoryWriter
from harness.kube import Manifest
from harness.observe._http import Endpoint
from harness.observe.k8s import Listener
from harness.observe.recorder import Recorder
from harness.observe.watch import Delay, Heartbeat, OnChange, Watch

TRACKING = "argocd.argoproj.io/tracking-id"
SAID_AT_MOST = 20
KINDS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
}
ALWAYS = ("ConfigMap", "Deployment", "Service")  # where an object that Git does not know would show
UNITS = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(10**3), "M": Decimal(10**6),
    "G": Decimal(10**9), "T": Decimal(10**12), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}  # fmt: skip

Key = tuple[str, str]  # kind, name


class Live(Recorder):
    """Writes `live`/`diff` whenever the state of "live equals Git, and is healthy" changes.

    Args:
        desired: the manifests as rendered from Git.
        namespace: the Boutique's.
        app: the name of its Argo CD Application; objects that it tracks but Git does not have count as differing.
    """

    def __init__(self, desired: Sequence[Manifest], namespace: str, app: str) -> None:
        super().__init__("live")
        self._namespace, self._app = namespace, app
        self.kinds = tuple(sorted({*ALWAYS, *(m["kind"] for m in desired)} - {"Namespace"}))
        self._desired = self._index(desired)
        self._live: dict[Key, Manifest] = {}
        self._diffs: dict[Key, tuple[str, ...]] = {}
        self._synced: set[str] = set()
        self._said: tuple[bool, bool, tuple[str, ...]] | None = None
        self._history: HistoryWriter | None = None
        self._lock = threading.Lock()
        self.delay = Delay()

    def start(self, history: HistoryWriter) -> None:
        """No thread is needed: the watches tell."""
        self._history = history

    def set_desired(self, desired: Sequence[Manifest]) -> None:
        """Git has changed."""
        with self._lock:
            self._desired = self._index(desired)
            self._diffs = {}
            for key in {*self._desired, *self._live}:
                self._compare(key)
            self._say()

    def _index(self, desired: Sequence[Manifest]) -> dict[Key, Manifest]:
        found = {(m["kind"], m["metadata"]["name"]): m for m in desired if m["kind"] != "Namespace"}
        for kind in {k for k, _ in found}:
            if kind not in KINDS or kind not in self.kinds:
                raise UsageError(f"{kind} objects are not watched", fix="add the kind to harness/observe/live.py")
        return found

    def listener(self, kind: str) -> Listener:
        """What a watch of `kind` shall tell."""
        return Listener(self._changed(kind), lambda: self._sync(kind))

    def _changed(self, kind: str) -> OnChange:
        def on_change(change: str, item: Manifest) -> None:
            key = (kind, item["metadata"]["name"])
            with self._lock:
                if change == "deleted":
                    self._live.pop(key, None)
                else:
                    self._live[key] = item
                self._compare(key)
                self._say()

        return on_change

    def _sync(self, kind: str) -> None:
        with self._lock:
            if kind not in self._synced:
                self._synced.add(kind)
                for key in self._desired:
                    if key[0] == kind:
                        self._compare(key)
            self._say()

    def _compare(self, key: Key) -> None:
        want, have = self._desired.get(key), self._live.get(key)
        name = "/".join(key)
        found: tuple[str, ...] = ()
        if want is not None and have is None:
            found = (f"{name} is missing",)
        elif want is not None and have is not None:
            found = tuple(f"{name} {text}" for text in differences(want, have))
        elif have is not None and self._foreign(have):
            found = (f"{name} is not in Git",)
        self._diffs[key] = found

    def _foreign(self, have: Manifest) -> bool:
        meta = have["metadata"]
        tracked = str((meta.get("annotations") or {}).get(TRACKING, ""))
        return tracked.startswith(f"{self._app}:") and not meta.get("ownerReferences")

    def _say(self) -> None:
        if self._history is None or not self._synced.issuperset(self.kinds):
            return
        differing = tuple(sorted(text for texts in self._diffs.values() for text in texts))
        sick = [name for (kind, name), want in self._desired.items() if kind == "Deployment" and self._sick(name, want)]
        state = (not differing, not sick, differing[:SAID_AT_MOST])
        self.ready.set()
        if state != self._said:
            self._said = state
            self._history.mark(
                "live",
                "diff",
                err_s=self.delay.err_s,
                equal=state[0],
                healthy=state[1],
                differing=list(state[2]),
                unhealthy=sorted(sick)[:SAID_AT_MOST],
            )

    def _sick(self, name: str, want: Manifest) -> bool:
        have = self._live.get(("Deployment", name))
        if have is None:
            return True
        status = have.get("status") or {}
        replicas = want["spec"].get("replicas", have["spec"].get("replicas", 1))
        return bool(
            status.get("observedGeneration", 0) < have["metadata"].get("generation", 0)
            or status.get("availableReplicas", 0) < replicas
            or status.get("updatedReplicas", 0) < replicas
            or status.get("replicas", 0) > replicas
        )


def live_recorders(api: Endpoint, live: Live, namespace: str, shared: dict[str, Watch]) -> list[Recorder]:
    """The watches that `live` needs besides those it shares, and its heartbeat.

    Args:
        api: where the API is.
        live: what they tell.
        namespace: the Boutique's.
        shared: watches that tell `live` already, by resource.
    """
    own: list[Watch] = []
    for kind in live.kinds:
        root, resource = KINDS[kind]
        if resource not in shared:
            listener = live.listener(kind)
            path = f"{root}/namespaces/{namespace}/{resource}"
            own.append(Watch(api, path, resource, listener.on_change, on_sync=listener.on_sync))
    heartbeat = Heartbeat("live", api, f"/api/v1/namespaces/{namespace}", [*shared.values(), *own], live.delay)
    return [live, *own, heartbeat]


def differences(want: Manifest, have: Manifest) -> list[str]:
    """Where the live object is not what Git states; empty when it is."""
    ignored = {"apiVersion", "kind", "metadata", "status"}
    found = list(_compare({k: v for k, v in want.items() if k not in ignored}, have, ""))
    for part in ("labels", "annotations"):
        stated = want["metadata"].get(part) or {}
        found += _compare(stated, have["metadata"].get(part) or {}, f"metadata.{part}")
    return found


def _compare(want: Any, have: Any, path: str) -> Iterator[str]:
    if _empty(want) and _empty(have):
        return
    if isinstance(want, dict) and isinstance(have, dict):
        for key, value in want.items():
            yield from _compare(value, have.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(want, list) and isinstance(have, list):
        yield from _compare_lists(want, have, path)
    elif not _same(want, have, path):
        yield f"{path}: {_short(have)} instead of {_short(want)}"


def _compare_lists(want: list[Any], have: list[Any], path: str) -> Iterator[str]:
    names = [_name(item) for item in want]
    if want and all(names) and len(set(names)) == len(names):
        there = {_name(item): item for item in have}
        for name, item in zip(names, want, strict=True):
            yield from _compare(item, there.get(name), f"{path}[{name}]")
        for name in there:
            if name not in names:
                yield f"{path}[{name or '?'}]: not in Git"
    elif len(want) != len(have):
        yield f"{path}: {len(have)} items instead of {len(want)}"
    else:
        for index, (one, other) in enumerate(zip(want, have, strict=True)):
            yield from _compare(one, other, f"{path}[{index}]")


def _name(item: Any) -> str:
    """By what the API server tells the items of a list apart."""
    if not isinstance(item, dict):
        return ""
    for key in ("name", "containerPort", "port", "mountPath", "topologyKey"):
        if item.get(key) not in (None, ""):
            return str(item[key])
    return ""


def _empty(value: Any) -> bool:
    return value is None or value in ({}, [], "")


def _same(want: Any, have: Any, path: str) -> bool:
    if want == have and isinstance(want, bool) == isinstance(have, bool):
        return True
    if want is None or have is None or isinstance(want, bool) or isinstance(have, bool):
        return False
    if ".limits." in path or ".requests." in path or path.endswith("sizeLimit"):
        return _quantity(want) == _quantity(have)
    return str(want) == str(have)


def _quantity(value: Any) -> Decimal | str:
    """A Kubernetes quantity as a number; what is none, as it is."""
    text = str(value)
    digits = text.rstrip("numkKMGTi")
    try:
        return Decimal(digits) * UNITS.get(text[len(digits) :], Decimal(1))
    except InvalidOperation:
        return text


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
