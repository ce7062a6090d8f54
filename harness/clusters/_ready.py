"""Whether a cluster is there, by its API's own word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness._errors import HarnessError


def ready_nodes(kubeconfig: Path) -> dict[str, bool] | None:
    """Whether each node is Ready, by name; None when there are no credentials or the API does not answer."""
    if not kubeconfig.exists():
        return None
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    from harness.kube import Kube

    try:
        nodes: list[dict[str, Any]] = Kube(kubeconfig).list("Node")
    except (HarnessError, OSError, HTTPError, ApiException):
        return None
    return {
        n["metadata"]["name"]: any(
            c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", [])
        )
        for n in nodes
    }
