"""The logs of the blast radius, read from Loki once the scenario is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from harness.history import HistoryWriter
from harness.observe._http import UNREACHABLE, Endpoint, Line, say
from harness.observe.recorder import Poller

POLL_EVERY_S = 2.0
LINES_AT_MOST = 1500  # of each of the two questions
TEXT_AT_MOST = 400
TROUBLE = "(?i)error|fail|fatal|panic|refused|unavailable|timeout|deadline"
NODE_CLOCK_ERR_S = 0.1


class LogRecorder(Poller):
    """Says whether Loki answers; at the end, writes the lines of the blast radius and every line of trouble.

    Args:
        url: of Loki.
        namespace: the Boutique's.
        apps: the blast radius; all the namespace when empty.
    """

    def __init__(self, url: str, namespace: str, apps: Sequence[str] = ()) -> None:
        super().__init__("log", POLL_EVERY_S)
        self._line = Line(Endpoint(url, timeout_s=2.5))
        self._namespace, self._apps = namespace, tuple(apps)
        self._from_s: float | None = None

    def look(self, history: HistoryWriter) -> None:
        """Ask whether it is ready."""
        if self._from_s is None:
            self._from_s = history.now_s()
        try:
            self._line.get("/ready")
        except UNREACHABLE as err:
            self._line.close()
            history.mark("log", "poll", ok=False, error=say(err))
        else:
            history.mark("log", "poll", ok=True)

    def finish(self, history: HistoryWriter) -> None:
        """Read the lines."""
        start_s = history.start_wall_s + (self._from_s or 0.0)
        end_s = history.start_wall_s + history.now_s()
        place = f'namespace="{self._namespace}"'
        apps = f', app=~"{"|".join(self._apps)}"' if self._apps else ""
        lines: dict[tuple[str, str, str], dict[str, Any]] = {}
        try:
            for query in (f"{{{place}{apps}}}", f'{{{place}}} |~ "{TROUBLE}"'):
                self._read(query, start_s, end_s, lines)
        except (*UNREACHABLE, KeyError, TypeError) as err:
            history.mark("log", "poll", ok=False, error=say(err))
        finally:
            self._line.close()
        for (stamp, pod, text), labels in sorted(lines.items()):
            history.mark(
                "log",
                "line",
                t_s=history.at_wall(int(stamp) / 1e9),
                err_s=NODE_CLOCK_ERR_S,
                app=labels.get("app", ""),
                pod=pod,
                text=text[:TEXT_AT_MOST],
                stream=labels.get("stream", ""),
            )

    def _read(
        self, query: str, start_s: float, end_s: float, lines: dict[tuple[str, str, str], dict[str, Any]]
    ) -> None:
        asked = {
            "query": query,
            "start": str(int(start_s * 1e9)),
            "end": str(int(end_s * 1e9)),
            "limit": str(LINES_AT_MOST),
            "direction": "forward",
        }
        answer = self._line.get_json(f"/loki/api/v1/query_range?{urlencode(asked)}", timeout_s=4.0)
        for stream in answer["data"]["result"]:
            labels = stream["stream"]
            for stamp, text, *_ in stream["values"]:
                lines[stamp, labels.get("pod", ""), text] = labels
