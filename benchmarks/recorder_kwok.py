"""What the Kubernetes recorders cost on a real API server with 500 nodes and 5,000 pods that kwok keeps alive.

The cluster of the environment must be up; kwok simulates kubelets on nodes that carry its annotation, so the real ones are
left alone. All that it makes is removed at the end.

    HARNESS_ENV=bench .venv/bin/python benchmarks/recorder_kwok.py --seconds 60 --changes 10
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness._usage import cpu_s, peak_memory_bytes
from harness.env import current_env
from harness.history import HistoryWriter
from harness.kube import Kube, Manifest
from harness.observe._http import Line
from harness.observe.k8s import kubernetes
from harness.observe.recorder import recording
from harness.observe.watch import api_endpoint
from harness.provision import attach

NAMESPACE, FAKE = "kwok-large", "kwok.x-k8s.io/node"
POD_API = {"apiVersion": "v1", "kind": "Pod"}


def fake_node(number: int) -> Manifest:
    """A node that only kwok believes in."""
    meta = {"name": f"kwok-{number}", "annotations": {FAKE: "fake"}, "labels": {"type": "kwok"}}
    taints = [{"key": FAKE, "value": "fake", "effect": "NoSchedule"}]
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"taints": taints}}


def fake_pod(number: int, nodes: int) -> Manifest:
    """A pod on one of them."""
    meta = {"name": f"pod-{number}", "namespace": NAMESPACE, "labels": {"app": f"service-{number // 450}"}}
    container = {
        "name": "server",
        "image": "example/service:1",
        "env": [{"name": f"V{n}", "value": "x"} for n in range(9)],
    }
    spec = {"nodeName": f"kwok-{number % nodes}", "containers": [container], "automountServiceAccountToken": False}
    return {**POD_API, "metadata": meta, "spec": spec}


def make(kube: Kube, manifests: list[Manifest]) -> None:
    """Create many, eight at a time."""
    api = kube.resource(manifests[0]["kind"], "v1")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda m: api.create(body=m, namespace=m["metadata"].get("namespace")), manifests))


def churn(kubeconfig: str, pods: int, changes: float) -> None:
    """In a process of its own: pods stop being ready, and are ready again."""
    api = Kube(Path(kubeconfig)).resource("Pod", "v1")
    number = 0
    while True:
        number += 1
        ready = "False" if number % 2 else "True"
        body = {"status": {"conditions": [{"type": "Ready", "status": ready}]}}
        api.status.patch(
            body=body,
            name=f"pod-{number // 2 % pods}",
            namespace=NAMESPACE,
            content_type="application/strategic-merge-patch+json",
        )
        time.sleep(1 / changes)


@contextmanager
def large_cluster(kube: Kube, kwok: Path, kubeconfig: Path, nodes: int, pods: int) -> Iterator[None]:
    """Nodes and pods, running; gone afterwards."""
    log = Path(tempfile.gettempdir()) / "recorder_kwok.log"
    args = [str(kwok), "--kubeconfig", str(kubeconfig), "--manage-all-nodes=false"]
    args += ["--manage-nodes-with-annotation-selector", f"{FAKE}=fake"]
    with log.open("w") as sink, subprocess.Popen(args, stdout=sink, stderr=sink) as keeper:
        try:
            kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            make(kube, [fake_node(n) for n in range(nodes)])
            make(kube, [fake_pod(n, nodes) for n in range(pods)])
            api = kube.resource("Pod", "v1")
            for _ in range(300):
                # A list by a field selector does not tell how many remain, so those that wait are counted.
                waiting = api.get(namespace=NAMESPACE, field_selector="status.phase=Pending", limit=500).items
                print(f"{len(waiting)}{'+' if len(waiting) == 500 else ''} of {pods} pods wait", flush=True)
                if len(waiting) <= pods * 0.01:
                    break
                time.sleep(5)
            yield
        finally:
            kube.delete("Namespace", NAMESPACE)
            every = kube.resource("Pod", "v1")
            every.delete(namespace=NAMESPACE, body={"gracePeriodSeconds": 0}, label_selector="app")
            kube.resource("Node", "v1").delete(label_selector="type=kwok")
            keeper.terminate()


def record(told: Connection, kubeconfig: Path, seconds: float) -> None:
    """In a process of its own: run the recorders, and tell what they cost."""
    asks, sent = 0, Line.open

    def counted(self: Line, *args: Any, **kwargs: Any) -> Any:
        nonlocal asks
        asks += 1
        return sent(self, *args, **kwargs)

    Line.open = counted  # type: ignore[method-assign]
    api = api_endpoint(Kube(kubeconfig))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        history = HistoryWriter(path, scenario="cost", run="benchmark")
        start_s, began_s = cpu_s(), time.monotonic()
        with recording(history, kubernetes(api, [NAMESPACE]), ready_s=120) as running:
            blind, ready_s, listed_s = running.blind(), time.monotonic() - began_s, cpu_s() - start_s
            before_s, before, lines = cpu_s(), asks, path.read_bytes().count(b"\n")
            threading.Event().wait(seconds)
            spent_s, seen = cpu_s() - before_s, path.read_bytes().count(b"\n") - lines
        history.close()
    told.send(
        {
            "records_per_s": round(seen / seconds, 1),
            "ready_after_s": round(ready_s, 1),
            "cpu_to_list_s": round(listed_s, 2),
            "cpu_watching_percent_of_a_core": round(100 * spent_s / seconds, 1),
            "requests_per_s": round((asks - before) / seconds, 2),
            "peak_memory_mib": round(peak_memory_bytes() / 2**20),
            "blind": list(blind),
        }
    )


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pods", type=int, default=5000)
    options.add_argument("--nodes", type=int, default=500)
    options.add_argument("--changes", type=float, default=10, help="pod changes a second")
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument(
        "--kwok", type=Path, required=True, help="the program: go install sigs.k8s.io/kwok/cmd/kwok@v0.7.0"
    )
    asked = options.parse_args()
    platform = attach(current_env())
    kubeconfig = platform.cluster.kubeconfig
    start = multiprocessing.get_context("spawn").Process
    ours, theirs = multiprocessing.Pipe()
    with large_cluster(platform.kube, asked.kwok, kubeconfig, asked.nodes, asked.pods):
        busy = start(target=churn, args=(str(kubeconfig), asked.pods, asked.changes), daemon=True)
        busy.start()
        watching = start(target=record, args=(theirs, kubeconfig, asked.seconds), daemon=True)
        watching.start()
        if not ours.poll(asked.seconds + 180):
            raise TimeoutError("the recorders did not answer")
        figures = ours.recv()
        busy.terminate()
    print(json.dumps({"nodes": asked.nodes, "pods": asked.pods, **figures}, indent=1))


if __name__ == "__main__":
    main()
