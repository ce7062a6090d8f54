"""What an existing cluster has: components found by their well-known names and labels, and where they are reached."""

from __future__ import annotations

from dataclasses import dataclass

from harness._errors import ClusterError
from harness.kube import Kube, Manifest
from harness.stack._monitoring import answers

NAME_LABEL = "app.kubernetes.io/name"


@dataclass(frozen=True)
class Known:
    """A component by the names that it goes by.

    Args:
        key: its key in `[attached.addresses]`.
        names: of its Service, or in the label `app.kubernetes.io/name`.
        ready: the path that says that it serves.
        needed: no scenario can be judged without it.
    """

    key: str
    names: tuple[str, ...]
    ready: str
    needed: bool = True


COMPONENTS = (
    Known("prometheus", ("prometheus", "prometheus-k8s", "prometheus-operated", "prometheus-server"), "/-/ready"),
    Known("alertmanager", ("alertmanager", "alertmanager-main", "alertmanager-operated"), "/-/ready"),
    Known("loki", ("loki", "loki-gateway", "loki-read"), "/ready", needed=False),
)


def find_url(known: Known, services: list[Manifest], node_address: str) -> str:
    """The URL of a component as this machine reaches it: a load balancer's address, or a NodePort; empty for none."""
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        if meta["name"] not in known.names and meta.get("labels", {}).get(NAME_LABEL) not in known.names:
            continue
        port = next((p for p in spec["ports"] if p.get("name", "http").startswith(("http", "web"))), spec["ports"][0])
        given = (service.get("status") or {}).get("loadBalancer", {}).get("ingress") or []
        if given:
            return f"http://{given[0].get('ip') or given[0].get('hostname')}:{port['port']}"
        if port.get("nodePort"):
            return f"http://{node_address}:{port['nodePort']}"
    return ""


def discover(kube: Kube, given: dict[str, str], node_address: str) -> tuple[dict[str, str], dict[str, str]]:
    """Where every component is, and what it is: its version, or `absent: why`.

    Args:
        kube: the cluster.
        given: addresses from the configuration; they are not looked for.
        node_address: where NodePorts answer.

    Raises:
        ClusterError: one that no scenario can do without was not found, or does not answer.
    """
    services = kube.list("Service")
    urls: dict[str, str] = {}
    states: dict[str, str] = {}
    for known in COMPONENTS:
        url = given.get(known.key) or find_url(known, services, node_address)
        missing = answers(url + known.ready) if url else "no Service with a NodePort or a load balancer's address"
        if missing and (known.needed or given.get(known.key)):
            raise ClusterError(
                f"{known.key} cannot be reached",
                last=missing,
                fix=f"set attached.addresses.{known.key} to a URL that this machine reaches (kubectl port-forward will do)",
            )
        states[known.key] = f"absent: {missing}" if missing else "found"
        urls[known.key] = "" if missing else url
    return urls, states
