"""One run at a time: a Lease in the cluster, held by the run, renewed while it lives.

It is taken over when it has expired, or at once when its holder was a process of this machine that is no more: what a
killed run left can then be swept without waiting.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness._clock import CLOCK, Clock, parse_utc
from harness._errors import HarnessError
from harness.faults._journal import pid_start
from harness.kube import Kube, Manifest

NAMESPACE = "kube-system"
NAME = "resilience-harness"
API = "coordination.k8s.io/v1"
DURATION_S = 30
PROCESS = "resilience-harness/process"  # annotation: whose process holds it


class RunLeaseHeld(HarnessError):
    """Another run is using this cluster."""


def _stamp(wall_s: float) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=wall_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _here() -> str:
    """Where a pid means something: this boot of this machine, and this namespace of pids."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


def _died(lease: Manifest) -> bool:
    """Whether the holder was a process of this machine that is no more; of other machines nothing is known."""
    place, _, process = str((lease["metadata"].get("annotations") or {}).get(PROCESS, "")).rpartition(" ")
    pid, _, start = process.partition("@")
    return place == _here() and pid_start(int(pid)) != start


def holder_of(lease: Manifest | None, clock: Clock = CLOCK) -> str:
    """Who holds a Lease now; empty when nobody does, it has expired, or its holder has died on this machine."""
    spec: dict[str, Any] = (lease or {}).get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    renewed = spec.get("renewTime")
    if not holder or not renewed:
        return ""
    expired = clock.wall() > parse_utc(renewed) + float(spec.get("leaseDurationSeconds") or DURATION_S)
    return "" if expired or (lease and _died(lease)) else str(holder)


def current_holder(kube: Kube) -> str:
    """Who holds the run's Lease of this cluster now, or empty."""
    return holder_of(kube.get("Lease", NAME, NAMESPACE, API))


def _take(kube: Kube, holder: str, clock: Clock) -> None:
    """Take or renew; raises `RunLeaseHeld` when another holds it or was quicker."""
    live = kube.get("Lease", NAME, NAMESPACE, API)
    other = holder_of(live, clock)
    if other and other != holder:
        raise RunLeaseHeld(
            f"another run is using this cluster: {other}",
            where=f"lease {NAMESPACE}/{NAME}",
            last=f"renewed {live['spec']['renewTime']}" if live else None,
            fix=f"wait for it to end; if it is dead, its lease expires within {DURATION_S} s",
        )
    now = _stamp(clock.wall())
    mine = {PROCESS: f"{_here()} {os.getpid()}@{pid_start(os.getpid())}"}
    spec = {"holderIdentity": holder, "leaseDurationSeconds": DURATION_S, "renewTime": now}
    api = kube.resource("Lease", API)
    try:
        if live is None:
            body = {
                "apiVersion": API,
                "kind": "Lease",
                "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": mine},
                "spec": {**spec, "acquireTime": now},
            }
            api.create(body=body, namespace=NAMESPACE)
        else:
            if other != holder:
                spec["acquireTime"] = now
            # With the version that we read, so that of two that try at once one is refused.
            meta = {**live["metadata"], "annotations": {**(live["metadata"].get("annotations") or {}), **mine}}
            body = {**live, "metadata": meta, "spec": {**live["spec"], **spec}}
            api.replace(body=body, name=NAME, namespace=NAMESPACE)
    except Exception as err:
        if getattr(err, "status", None) == 409:
            now_held = current_holder(kube) or "a run that was quicker"
            if now_held == holder:
                return
            raise RunLeaseHeld(
                f"another run is using this cluster: {now_held}", where=f"lease {NAMESPACE}/{NAME}"
            ) from err
        raise


@contextlib.contextmanager
def run_lease(kube: Kube, holder: str, *, clock: Clock = CLOCK) -> Iterator[None]:
    """Hold the cluster for one run; its workers share the holder's name.

    Args:
        kube: the API.
        holder: the run's id, and who runs it, for the message that the second run gets.
        clock: the seam for tests.

    Raises:
        RunLeaseHeld: another run holds it; names it.
    """
    _take(kube, holder, clock)
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(DURATION_S / 3):
            # The API may be down, as part of a fault: the next renewal decides.
            with contextlib.suppress(Exception):
                _take(kube, holder, clock)

    thread = threading.Thread(target=keep, name="run-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        live = kube.get("Lease", NAME, NAMESPACE, API)
        if live and holder_of(live, clock) == holder:
            kube.delete("Lease", NAME, NAMESPACE, uid=live["metadata"]["uid"], api_version=API)
