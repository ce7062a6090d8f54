"""The official Kubernetes client, with what the harness needs on top: apply, get, delete by plain names.

Everything is time-limited: each call carries a request time-out of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

FIELD_MANAGER = "resilience-harness"
REQUEST_TIMEOUT_S = 15.0

Manifest = dict[str, Any]


class Kube:
    """One connection to one API server.

    Args:
        kubeconfig: file with the credentials.
        context: context in it; the current one by default.

    `core`, `apps`, ... are the official client's typed APIs; `apply`, `get`, `list`, `delete` and `patch` work on any
    kind, as plain dictionaries.
    """

    def __init__(self, kubeconfig: Path, context: str | None = None) -> None:
        from kubernetes import config  # heavy; only commands that talk to a cluster pay for it

        self.kubeconfig = kubeconfig
        self.client = config.new_client_from_config(str(kubeconfig), context=context)
        self._lock = threading.Lock()

    @cached_property
    def core(self) -> Any:
        """CoreV1Api."""
        from kubernetes import client

        return client.CoreV1Api(self.client)

    @cached_property
    def apps(self) -> Any:
        """AppsV1Api."""
        from kubernetes import client

        return client.AppsV1Api(self.client)

    @cached_property
    def dynamic(self) -> Any:
        """The dynamic client, which knows every kind that the API server serves."""
        from kubernetes import dynamic

        return dynamic.DynamicClient(self.client)

    def resource(self, kind: str, api_version: str | None = None) -> Any:
        """The dynamic resource of a kind; the preferred version when `api_version` is not given."""
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        wanted = {"kind": kind, **({"api_version": api_version} if api_version else {})}
        with self._lock:
            try:
                return self._one(wanted)
            except ResourceNotFoundError:
                self.dynamic.resources.invalidate_cache()  # a CRD may have been added since
                return self._one(wanted)

    def _one(self, wanted: Mapping[str, str]) -> Any:
        from kubernetes.dynamic.exceptions import ResourceNotUniqueError

        try:
            return self.dynamic.resources.get(**wanted)
        except ResourceNotUniqueError:
            return self.dynamic.resources.get(**{**wanted, "api_version": "v1"})

    def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        """Server-side apply of one manifest; returns the live object."""
        meta = manifest["metadata"]
        live = self.resource(manifest["kind"], manifest["apiVersion"]).server_side_apply(
            body=manifest,
            name=meta["name"],
            namespace=meta.get("namespace"),
            field_manager=FIELD_MANAGER,
            force_conflicts=force,
            _request_timeout=REQUEST_TIMEOUT_S,
        )
        return dict(live.to_dict())

    def apply_all(self, manifests: Iterable[Manifest]) -> None:
        """Apply manifests in an order that works: namespaces and CRDs first."""
        first = {
            "Namespace": 0,
            "CustomResourceDefinition": 1,
            "ServiceAccount": 2,
            "ConfigMap": 3,
            "Secret": 3,
        }
        for manifest in sorted(manifests, key=lambda m: first.get(m["kind"], 9)):
            self.apply(manifest)

    def get(
        self, kind: str, name: str, namespace: str | None = None, api_version: str | None = None
    ) -> Manifest | None:
        """The live object as a dictionary, or None when there is none."""
        from kubernetes.dynamic.exceptions import NotFoundError

        try:
            found = self.resource(kind, api_version).get(
                name=name, namespace=namespace, _request_timeout=REQUEST_TIMEOUT_S
            )
        except NotFoundError:
            return None
        return dict(found.to_dict())

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", api_version: str | None = None
    ) -> list[Manifest]:
        """The live objects of a kind, by namespace and label selector."""
        found = self.resource(kind, api_version).get(
            namespace=namespace, label_selector=labels, _request_timeout=REQUEST_TIMEOUT_S
        )
        return [dict(item) for item in found.to_dict()["items"]]

    def patch(
        self, kind: str, name: str, namespace: str | None, body: Any, *, api_version: str | None = None
    ) -> Manifest:
        """Patch an object: a list is sent as a JSON patch, a dictionary as a merge patch."""
        content = "application/json-patch+json" if isinstance(body, list) else "application/merge-patch+json"
        live = self.resource(kind, api_version).patch(
            body=body,
            name=name,
            namespace=namespace,
            content_type=content,
            _request_timeout=REQUEST_TIMEOUT_S,
        )
        return dict(live.to_dict())

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        grace_s: int | None = None,
        api_version: str | None = None,
    ) -> bool:
        """Delete one object; with `uid` only if it is still that very object. False when it was not there."""
        from kubernetes.dynamic.exceptions import NotFoundError

        body: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        try:
            self.resource(kind, api_version).delete(
                name=name, namespace=namespace, body=body, _request_timeout=REQUEST_TIMEOUT_S
            )
        except NotFoundError:
            return False
        return True


def load_manifests(text: str) -> list[Manifest]:
    """The YAML documents of a text that are manifests."""
    # libyaml is six to nine times as fast, and Argo CD's manifests alone are 1.5 MB.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [doc for doc in yaml.load_all(text, Loader=loader) if doc]
