"""A user who never tires: the home page, ten times a second, through the full path, with TLS checked."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from harness._clock import CLOCK
from harness.boutique.topology import release_in
from harness.history import HistoryWriter
from harness.observe._http import UNREACHABLE, Endpoint, Line, say
from harness.observe.recorder import Recorder

EVERY_S = 0.1
IN_FLIGHT = 3
TIMEOUT_S = 2.0


@dataclass(frozen=True)
class ProbeSpec:
    """Whose home page, and how to get there.

    Args:
        port: the edge's port on the loopback address.
        host: the Boutique's host name: Host header, SNI, and the name in its certificate.
        ca_path: the CA that must have signed it, and no other.
        path: the page.
    """

    port: int
    host: str
    ca_path: Path
    path: str = "/"


def endpoint_of(spec: ProbeSpec, tls: ssl.SSLContext | None = None) -> Endpoint:
    """How a user of `spec` connects: to the edge, trusting its CA only."""
    return Endpoint(
        f"https://127.0.0.1:{spec.port}",
        tls=tls or ssl.create_default_context(cafile=str(spec.ca_path)),
        server_name=spec.host,
        headers={"Host": spec.host, "User-Agent": "resilience-harness-probe"},
        timeout_s=TIMEOUT_S,
    )


class Probe(Recorder):
    """Starts a request each 0.1 s, at most three at a time; one that takes longer than 2 s has failed.

    A failed request ends its connection, so the next one goes the whole way again, as another user's would.
    """

    def __init__(self, spec: ProbeSpec) -> None:
        super().__init__("probe")
        self._spec = spec
        self._tls = ssl.create_default_context(cafile=str(spec.ca_path))
        self._due: Queue[None] = Queue(maxsize=1)
        self._broken: Queue[Exception] = Queue()

    def record(self, history: HistoryWriter) -> None:
        """Request until stopped."""
        askers = [
            threading.Thread(target=self._ask, args=(history,), name=f"probe-{n}", daemon=True)
            for n in range(IN_FLIGHT)
        ]
        for asker in askers:
            asker.start()
        due_s = CLOCK.monotonic()
        while not self.stopping.is_set() and self._broken.empty():
            # With all askers waiting for answers nobody takes it, and the beat goes on from when one does.
            if self._due.empty():
                self._due.put(None)
            due_s = max(due_s + EVERY_S, CLOCK.monotonic())
            self.stopping.wait(max(0.0, due_s - CLOCK.monotonic()))
        self.stopping.set()
        for asker in askers:
            asker.join(TIMEOUT_S + 1)
        if not self._broken.empty():
            raise self._broken.get()

    def _ask(self, history: HistoryWriter) -> None:
        line = Line(endpoint_of(self._spec, self._tls))
        try:
            while not self.stopping.is_set():
                try:
                    self._due.get(timeout=0.2)
                except Empty:
                    continue
                self._request(history, line)
        except Exception as err:  # noqa: BLE001 - raised by the recorder's own thread
            self._broken.put(err)
        finally:
            line.close()

    def _request(self, history: HistoryWriter, line: Line) -> None:
        start_s, status, version, error = history.now_s(), 0, "", ""
        try:
            reply = line.open(self._spec.path)
            status, body = reply.status, reply.read()
            version = release_in(body.decode(errors="replace")) or ""
        except UNREACHABLE as err:
            error = say(err)
            line.close()
        took_s = history.now_s() - start_s
        if not error and took_s > TIMEOUT_S:
            error = f"took {took_s:.1f} s"
        if not error and not 200 <= status < 300:
            error = f"status {status}"
        if self.stopping.is_set() and error:
            return  # our own end may have caused it
        facts: dict[str, Any] = {"ok": not error, "status": status, "ms": round(took_s * 1000, 1)}
        if version:
            facts["version"] = version
        if error:
            facts["error"] = error
        history.mark("probe", "request", t_s=start_s, **facts)
        self.ready.set()
