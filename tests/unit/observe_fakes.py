"""A small HTTP server on loopback that answers as told, and stands in for the API server, Prometheus and others."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness.history import HistoryWriter, Record, read_history

CUT = object()  # put into a stream: the connection breaks
END = object()  # put into a stream: the server ends it properly


@dataclass
class FakeServer:
    """`answers` by path: a value becomes JSON, bytes go out as they are, a function is called with the query."""

    url: str
    answers: dict[str, Any] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    streams: dict[str, "Queue[Any]"] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving() -> Iterator[FakeServer]:
    """A fake server, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            fake.asked.append(self.path)
            status = fake.status.get(parts.path, 200)
            if query.get("watch") and status == 200:
                self._stream(fake.streams[parts.path])
                return
            answer = fake.answers.get(parts.path, b"no such page")
            answer = answer(query) if isinstance(answer, Callable) else answer  # type: ignore[arg-type]
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, events: "Queue[Any]") -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            while (event := events.get()) not in (CUT, END):
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
            if event is END:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    fake = FakeServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        for stream in fake.streams.values():
            stream.put(CUT)
        server.shutdown()
        server.server_close()
        thread.join()


class Notebook:
    """A history that is written to a file and can be looked at on the way."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.jsonl"
        self.history = HistoryWriter(self.path, scenario="test", run="run")

    def close(self) -> None:
        self.history.close()

    def records(self, source: str, event: str | None = None) -> list[Record]:
        return list(read_history(self.path).of(source, event))

    def facts(self, source: str, event: str) -> list[dict[str, Any]]:
        return [r.data for r in self.records(source, event)]
