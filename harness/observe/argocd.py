"""Argo CD's view of one Application, each change once."""

from __future__ import annotations

from typing import Any

from harness._clock import parse_utc
from harness.history import HistoryWriter
from harness.kube import Manifest
from harness.observe._http import Endpoint
from harness.observe.recorder import Recorder
from harness.observe.watch import Delay, Heartbeat, Watch

NAMESPACE = "argocd"


class Application(Recorder):
    """Writes `argocd`/`app` records."""

    def __init__(self) -> None:
        super().__init__("argocd")
        self.ready.set()
        self._history: HistoryWriter | None = None
        self._said: dict[str, Any] = {}
        self._attempts = ("", 0)
        self.delay = Delay()

    def start(self, history: HistoryWriter) -> None:
        """No thread is needed: the watch tells."""
        self._history = history

    def changed(self, change: str, item: Manifest) -> None:
        """The Application changed."""
        facts = app_facts(item, gone=change == "deleted")
        # Between two operations on one revision Argo CD forgets the last one's state, but not its count.
        revision, attempts = self._attempts
        if not facts["operation_phase"] and facts["revision"] == revision:
            facts["heal_attempts"] = attempts
        self._attempts = (facts["revision"], facts["heal_attempts"])
        if self._history is not None and facts != self._said:
            self._said = facts
            self._history.mark("argocd", "app", err_s=self.delay.err_s, **facts)


def argocd_recorders(api: Endpoint, app: str, namespace: str = NAMESPACE) -> list[Recorder]:
    """Recorders of the Application `app`."""
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/applications"
    seen = Application()
    watch = Watch(api, path, "applications", seen.changed, query={"fieldSelector": f"metadata.name={app}"})
    return [seen, watch, Heartbeat("argocd", api, f"{path}/{app}", [watch], seen.delay)]


def app_facts(item: Manifest, *, gone: bool = False) -> dict[str, Any]:
    """What the history says of an Application."""
    status = {} if gone else item.get("status") or {}
    sync, operation = status.get("sync") or {}, status.get("operationState") or {}
    request = (operation.get("operation") or {}).get("sync") or {}
    return {
        "name": item["metadata"]["name"],
        "sync": sync.get("status", ""),
        "health": (status.get("health") or {}).get("status", ""),
        "revision": sync.get("revision", ""),
        "operation_phase": operation.get("phase", ""),
        "operation_revision": (operation.get("syncResult") or {}).get("revision", ""),
        "operation_started_wall_s": _wall(operation.get("startedAt")),
        "operation_finished_wall_s": _wall(operation.get("finishedAt")),
        "heal_attempts": request.get("autoHealAttemptsCount", 0),
        "message": str(operation.get("message", ""))[:300],
        "conditions": [str(c.get("type", "")) for c in status.get("conditions") or ()],
    }


def _wall(text: str | None) -> float | None:
    return parse_utc(text) if text else None
