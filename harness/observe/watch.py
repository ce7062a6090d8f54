"""Kubernetes watches without the typed client: a list, then a stream of changes, resumed where it broke off."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from harness._clock import CLOCK, Clock
from harness.history import HistoryWriter
from harness.kube import Kube, Manifest
from harness.observe._http import UNREACHABLE, BadStatus, Endpoint, Line, say
from harness.observe.recorder import READY_S, Poller, Recorder

SERVER_ENDS_AFTER_S = 290  # a watch ends by itself after this long; it is resumed at once
RETRY_S = 0.25
CHUNK_BYTES = 1 << 20
LIST_TIMEOUT_S = 5.0
GONE = 410
MISSED_AT_MOST = 2
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json"
SEEN_WITHIN_S = 0.02  # a change reaches a watcher on an idle machine in a few milliseconds
SAMPLES = 3

OnChange = Callable[[str, Manifest], None]  # change ("added", "modified", "deleted") and the object


def api_endpoint(kube: Kube, *, timeout_s: float = LIST_TIMEOUT_S) -> Endpoint:
    """The API server and the credentials that `kube` uses."""
    config = kube.client.configuration
    tls = ssl.create_default_context(cafile=config.ssl_ca_cert)
    if not config.verify_ssl:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if config.cert_file:
        tls.load_cert_chain(config.cert_file, config.key_file)
    headers = {"Accept": "application/json"}
    token = config.get_api_key_with_prefix("authorization") or config.get_api_key_with_prefix("BearerToken")
    if token:
        headers["Authorization"] = token
    return Endpoint(config.host, tls=tls, headers=headers, timeout_s=timeout_s)


class Delay:
    """How late a watch may tell: as long as the API lately took to answer, or owes an answer.

    The same busy machines and the same broken network are in between.
    """

    def __init__(self, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self._answers_s: tuple[float, ...] = ()
        self._asked_s: float | None = None

    def asked(self) -> None:
        """The API was asked; asking again while it owes an answer changes nothing."""
        if self._asked_s is None:
            self._asked_s = self._clock.monotonic()

    def answered(self) -> None:
        """It answered."""
        self._answers_s = (*self._answers_s, self._owed_s())[-SAMPLES:]
        self._asked_s = None

    def _owed_s(self) -> float:
        since_s = self._asked_s
        return 0.0 if since_s is None else self._clock.monotonic() - since_s

    @property
    def err_s(self) -> float:
        """The error bound of what is told now."""
        return max(SEEN_WITHIN_S, self._owed_s(), *self._answers_s)


class Watch(Recorder):
    """One watch. Tells `on_change` about every object once at the start, then about every change, in order.

    Args:
        api: where the API is.
        path: of the collection, such as `/api/v1/namespaces/shop/pods`.
        resource: its name in the history's `stream` records.
        on_change: called from this recorder's thread.
        query: selectors.
        skip_old: do not tell about what is there at the start (for events).
        on_sync: called when all that is there has been told about.
    """

    def __init__(
        self,
        api: Endpoint,
        path: str,
        resource: str,
        on_change: OnChange,
        *,
        query: Mapping[str, str] | None = None,
        skip_old: bool = False,
        on_sync: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(f"watch-{resource}")
        self.resource, self.on_change, self.on_sync = resource, on_change, on_sync
        self._path, self._query, self._skip_old = path, dict(query or {}), skip_old
        self._line = Line(api)
        self._known: dict[str, Manifest] = {}
        self._version = ""
        self._opened = False
        self.open_now = False
        self._blind_since_s: float | None = None

    def record(self, history: HistoryWriter) -> None:
        """Watch until stopped."""
        while not self.stopping.is_set():
            try:
                if not self._version:
                    self._list()
                self._stream(history)
            except BadStatus as err:
                if err.status == GONE:
                    self._version = ""  # too old to resume: list again, and tell the difference
                else:
                    self._closed(history, say(err))
                    self.stopping.wait(RETRY_S)
            except UNREACHABLE as err:
                self._closed(history, say(err))
                self.stopping.wait(RETRY_S)
            finally:
                self._line.close()

    def wake(self) -> None:
        """Cut the stream."""
        self._line.cut()

    def give_up(self, blind_since_s: float) -> None:
        """Cut a stream that has been silent only because nobody is there any more, since that time."""
        self._blind_since_s = blind_since_s
        self.wake()

    def _list(self) -> None:
        listed = self._line.get_json(f"{self._path}?{urlencode({**self._query, 'resourceVersion': ''})}")
        # Items of a list carry no kind of their own.
        kind = str(listed["kind"]).removesuffix("List")
        items = {i["metadata"]["uid"]: {**i, "kind": kind} for i in listed["items"]}
        quiet = self._skip_old and not self._opened
        for uid in [u for u in self._known if u not in items]:
            self.on_change("deleted", self._known.pop(uid))
        for uid, item in items.items():
            old = self._known.get(uid)
            self._known[uid] = _slim(item)
            if old is None and not quiet:
                self.on_change("added", item)
            elif old is not None and old["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self.on_change("modified", item)
        self._version = listed["metadata"]["resourceVersion"]
        self.on_sync()

    def _stream(self, history: HistoryWriter) -> None:
        query = {
            **self._query,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(SERVER_ENDS_AFTER_S),
        }
        reply = self._line.open(f"{self._path}?{urlencode(query)}", timeout_s=SERVER_ENDS_AFTER_S + 30)
        if reply.status != http.client.OK:
            raise BadStatus(reply.status, reply.read(2000).decode(errors="replace"))
        if not self.open_now:
            history.mark("k8s", "stream", resource=self.resource, state="resumed" if self._opened else "open")
        self.open_now = self._opened = True
        self.ready.set()
        rest = b""
        # read1 gives what has come, and raises when the stream is cut; readline would take a cut for the end.
        while not self.stopping.is_set() and (got := reply.read1(CHUNK_BYTES)):
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                if line:
                    self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        item = event["object"]
        if event["type"] == "ERROR":
            raise BadStatus(int(item.get("code", 500)), str(item.get("message", "")))
        version = item["metadata"]["resourceVersion"]
        if event["type"] != "BOOKMARK":
            change = event["type"].lower()
            uid = item["metadata"]["uid"]
            if change == "deleted":
                self._known.pop(uid, None)
            else:
                self._known[uid] = _slim(item)
            self.on_change(change, item)
        self._version = version

    def _closed(self, history: HistoryWriter, why: str) -> None:
        if self.open_now and not self.stopping.is_set():
            self.open_now = False
            history.mark("k8s", "stream", t_s=self._blind_since_s, resource=self.resource, state="closed", error=why)
        self._blind_since_s = None


class Heartbeat(Poller):
    """Asks the API for one thing each second, and writes whether it answered as `source`/`poll`.

    A connection to a machine that lost its power stays open for minutes; so when the API does not answer, the watches
    are cut, and resume once it does.

    Args:
        source: the source in the history.
        api: where the API is.
        path: of one object to ask for.
        watches: those whose openness is part of seeing.
        delay: told of each question and each answer.
    """

    def __init__(
        self, source: str, api: Endpoint, path: str, watches: Sequence[Watch], delay: Delay | None = None
    ) -> None:
        super().__init__(f"{source}-heartbeat")
        self._delay = delay or Delay()
        self._source, self._path, self._watches = source, path, watches
        self._line = Line(replace(api, headers={**(api.headers or {}), "Accept": METADATA_ONLY}, timeout_s=2.0))
        self._missed, self._good_s = 0, 0.0

    def close(self) -> None:
        """Close the connection."""
        self._line.close()

    def record(self, history: HistoryWriter) -> None:
        """Ask until stopped, once the watches are open or should be."""
        deadline_s = CLOCK.monotonic() + READY_S / 2
        while not self.stopping.is_set() and not all(w.ready.is_set() for w in self._watches):
            if CLOCK.monotonic() >= deadline_s:
                break
            self.stopping.wait(0.05)
        super().record(history)

    def look(self, history: HistoryWriter) -> None:
        """Ask once."""
        self._delay.asked()
        try:
            self._line.get(self._path)
        except UNREACHABLE as err:
            # An answer, if only "not found", shows that the API is there.
            silent = not isinstance(err, BadStatus) or err.status >= http.client.INTERNAL_SERVER_ERROR
            self._missed = self._missed + 1 if silent else 0
            history.mark(self._source, "poll", ok=False, error=say(err))
            if self._missed == MISSED_AT_MOST:
                for watch in self._watches:
                    watch.give_up(self._good_s)
            if not silent:
                self._delay.answered()
            return
        self._delay.answered()
        self._missed, self._good_s = 0, history.now_s()
        closed = [w.resource for w in self._watches if not w.open_now]
        if closed:
            history.mark(self._source, "poll", ok=False, error=f"no watch of {', '.join(closed)}")
        else:
            history.mark(self._source, "poll", ok=True)


def _slim(item: Manifest) -> Manifest:
    """What is needed to tell of a deletion that nobody saw."""
    kept = {"name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences"}
    return {"kind": item.get("kind"), "metadata": {k: v for k, v in item["metadata"].items() if k in kept}}
