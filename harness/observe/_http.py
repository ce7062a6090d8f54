"""HTTP for recorders: one kept-alive connection that costs little, and can be cut from another thread.

The common clients spend about a millisecond of processor time on a request; a recorder makes thousands.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# What an unreachable, dying or half-up server does to a client.
UNREACHABLE = (OSError, http.client.HTTPException)


class BadStatus(http.client.HTTPException):
    """The server answered, but not with 2xx."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"status {status}: {body[:200].strip()}")
        self.status = status


@dataclass(frozen=True)
class Endpoint:
    """Where and how to connect.

    Args:
        url: scheme, host and port; a path in it is put before every path.
        tls: for https.
        server_name: the name in the certificate and the SNI, when it is not the host.
        headers: sent with each request.
        timeout_s: for connecting and for each read.
    """

    url: str
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    headers: Mapping[str, str] | None = None
    timeout_s: float = 3.0


class _TLSConnection(http.client.HTTPSConnection):
    """HTTPS whose certificate is checked against another name than the address."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext, server_name: str, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s, context=tls)
        self._tls, self._server_name = tls, server_name or host

    def connect(self) -> None:
        """Connect and check the certificate."""
        http.client.HTTPConnection.connect(self)
        self.sock: socket.socket = self._tls.wrap_socket(self.sock, server_hostname=self._server_name)


class Line:
    """One connection, opened when needed and kept alive; for one thread, except `cut`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        parts = urlsplit(endpoint.url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/")
        self._http: http.client.HTTPConnection | None = None
        self._was_cut = False

    def open(self, path: str, *, timeout_s: float | None = None) -> http.client.HTTPResponse:
        """Send a GET; return the answer, whose body is still to be read, whatever its status."""
        self._was_cut = False
        for attempt in (1, 2):
            line, fresh = self._connection()
            if line.sock is not None:
                line.sock.settimeout(timeout_s or self.endpoint.timeout_s)
            try:
                line.request("GET", self._base + path, headers=dict(self.endpoint.headers or {}))
                if timeout_s and line.sock is not None:
                    line.sock.settimeout(timeout_s)
                return line.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()
                # The server may close an idle connection at any time; on a new one it means something.
                if fresh or attempt == 2 or self._was_cut:
                    raise
            except UNREACHABLE:
                self.close()
                raise
        raise AssertionError("unreachable")

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        if self._http is not None and self._http.sock is not None:
            return self._http, False
        timeout_s = self.endpoint.timeout_s
        if self._secure:
            tls = self.endpoint.tls or ssl.create_default_context()
            self._http = _TLSConnection(
                self._host, self._port, tls=tls, server_name=self.endpoint.server_name, timeout_s=timeout_s
            )
        else:
            self._http = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        return self._http, True

    def get(self, path: str, *, timeout_s: float | None = None) -> bytes:
        """The body of a GET.

        Raises:
            BadStatus: not a 2xx answer.
            OSError: not reachable.
            http.client.HTTPException: not an answer.
        """
        reply = self.open(path, timeout_s=timeout_s)
        try:
            body = reply.read()
        except UNREACHABLE:
            self.close()
            raise
        if not 200 <= reply.status < 300:
            raise BadStatus(reply.status, body.decode(errors="replace"))
        return body

    def get_json(self, path: str, *, timeout_s: float | None = None) -> Any:
        """The JSON of a GET; what is not JSON is a broken answer."""
        body = self.get(path, timeout_s=timeout_s)
        try:
            return json.loads(body)
        except ValueError as err:
            raise http.client.HTTPException(f"not JSON: {body[:80]!r}") from err

    def cut(self) -> None:
        """End what another thread is reading."""
        self._was_cut = True
        line = self._http
        if line is not None and line.sock is not None:
            with contextlib.suppress(OSError):
                line.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._http is not None:
            self._http.close()
            self._http = None


def say(err: BaseException) -> str:
    """An expected error in a few words."""
    return f"{type(err).__name__}: {err}"[:200] if str(err) else type(err).__name__
