"""What the Kubernetes recorders cost beside a large cluster: 500 nodes, 5,000 pods in the blast radius, pods changing.

The API server is simulated by another process on loopback (lists and watch streams in its format, objects of a real
one's size), so that the figures are the recorders' own and the cluster's load does not blur them.

    .venv/bin/python benchmarks/recorder_cost.py --seconds 30 --changes 50
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness._usage import cpu_s, peak_memory_bytes
from harness.history import HistoryWriter
from harness.observe._http import Endpoint
from harness.observe.k8s import kubernetes
from harness.observe.recorder import recording

NAMESPACE = "boutique-large"
PODS_PER_APP = 450
PADDING = {"managedFields": [{"manager": "kubelet", "fieldsV1": {f"f:field{n}": {} for n in range(90)}}]}


def pod(number: int, version: int, *, ready: bool = True) -> dict[str, Any]:
    """A pod of about the size that a real API server sends (5 kB)."""
    app = f"service-{number // PODS_PER_APP}"
    names = ("Initialized", "Ready", "ContainersReady", "PodScheduled", "PodReadyToStartContainers")
    status = {"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}
    env = [{"name": f"VARIABLE_{n}", "value": f"some-service.{NAMESPACE}.svc:80{n}"} for n in range(12)]
    container = {"name": "server", "image": "example/service:1", "env": env, "volumeMounts": [{"name": "a"}] * 3}
    return {
        "metadata": {
            "name": f"{app}-{number}",
            "namespace": NAMESPACE,
            "uid": f"00000000-0000-0000-0000-{number:012d}",
            "resourceVersion": str(version),
            "labels": {"app": app},
            **PADDING,
        },
        "spec": {"nodeName": f"node-{number % 500}", "containers": [container]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": n, "status": str(ready or n != "Ready"), **status} for n in names],
            "containerStatuses": [{"name": "server", "restartCount": 0, "ready": ready, "state": {"running": {}}}],
        },
    }


def node(number: int, version: int) -> dict[str, Any]:
    """A node of about the size that a real API server sends (12 kB: mostly the images that it holds)."""
    name = f"node-{number}"
    images = [{"names": [f"registry.example/image-{n}@sha256:{'0' * 64}"], "sizeBytes": n} for n in range(50)]
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), **PADDING},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "images": images},
    }


def serve(told: Connection, pods: int, nodes: int, changes: float) -> None:
    """Lists, and watch streams in which pods go from ready to not ready and back."""

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            kind = parts.path.rpartition("/")[2]
            if "watch" in parse_qs(parts.query):
                self._stream(kind)
                return
            items = {
                "pods": lambda: [pod(n, 1) for n in range(pods)],
                "nodes": lambda: [node(n, 1) for n in range(nodes)],
            }.get(kind, list)()
            body = json.dumps({"kind": "ThingList", "metadata": {"resourceVersion": "1"}, "items": items}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, kind: str) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            # A node writes its status every five minutes when nothing happens to it.
            every_s = {"pods": 1 / changes, "nodes": 300 / nodes}.get(kind, 3600.0)
            version = 1
            while True:
                time.sleep(every_s)
                version += 1
                number = version // 2 % pods
                item = (
                    node(version % nodes, version) if kind == "nodes" else pod(number, version, ready=version % 2 == 1)
                )
                line = json.dumps({"type": "MODIFIED", "object": item}).encode() + b"\n"
                try:
                    self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                except OSError:
                    return

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    told.send(server.server_address[1])
    server.serve_forever()


def main() -> None:
    """Measure and print one line of a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pods", type=int, default=5000)
    options.add_argument("--nodes", type=int, default=500)
    options.add_argument("--changes", type=float, default=50, help="pod changes a second")
    options.add_argument("--seconds", type=float, default=30)
    asked = options.parse_args()
    ours, theirs = multiprocessing.Pipe()
    api = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, asked.pods, asked.nodes, asked.changes), daemon=True
    )
    api.start()
    endpoint = Endpoint(f"http://127.0.0.1:{ours.recv()}", timeout_s=30)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        history = HistoryWriter(path, scenario="cost", run="benchmark")
        start_s, began_s = cpu_s(), time.monotonic()
        with recording(history, kubernetes(endpoint, [NAMESPACE]), ready_s=60) as running:
            blind, ready_s, listed_s = running.blind(), time.monotonic() - began_s, cpu_s() - start_s
            before_s, lines = cpu_s(), path.read_bytes().count(b"\n")
            time.sleep(asked.seconds)
            spent_s, seen = cpu_s() - before_s, path.read_bytes().count(b"\n") - lines
        history.close()
    api.terminate()
    peak_mib = peak_memory_bytes() / 2**20
    print(
        "| nodes | pods | changes seen /s | ready after | processor to list | processor while watching | peak memory |"
    )
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {asked.nodes} | {asked.pods} | {seen / asked.seconds:.0f} | {ready_s:.1f} s | {listed_s:.2f} s "
        f"| {100 * spent_s / asked.seconds:.1f} % of a core | {peak_mib:.0f} MiB |"
    )
    if blind:
        print(f"not ready: {', '.join(blind)}")


if __name__ == "__main__":
    main()
