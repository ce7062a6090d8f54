"""Shoppers: 70 % browse, 20 % put something into their cart, 10 % check out. A Locust file.

What to do comes as JSON in the variable LOAD_SPEC (see `harness.observe.load.LoadSpec`), so that one place checks it:

    LOAD_SPEC='{"port": 443, "host": "shop.example.test", "ca_path": "ca.pem", "users": 5}' \
    LOAD_RECORDS=requests.jsonl locust -f loadtests/shopper.py --headless
"""

# mypy: disable-error-code="misc,untyped-decorator,no-any-return"
# (Locust and gevent are not typed for us: see pyproject.toml.)

from __future__ import annotations

import json
import os
import random
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import gevent.ssl
from gevent.resolver.blocking import Resolver
from locust import FastHttpUser, LoadTestShape, between, events, task
from locust.contrib.fasthttp import LocustBadStatusCode
from locust.env import Environment

from harness.observe.load import LoadSpec
from loadtests.shapes import users_at

SPEC = LoadSpec.from_json(os.environ["LOAD_SPEC"])
RUNNER_PID = os.getppid()
PRODUCTS = (
    "OLJCESPC7Z",
    "66VCHSJNUP",
    "1YMWWN1N4O",
    "L9ECAV7KIM",
    "2ZYFJ3GM2N",
    "0PUK6V6EV0",
    "LS4PSXUNUM",
    "9SIQT8TOJO",
    "6E92ZMYYFZ",
)
ADDRESS = {
    "email": "shopper@example.com",
    "street_address": "1 Test Road",
    "zip_code": "94043",
    "city": "Here",
    "state": "CA",
    "country": "There",
    "credit_card_number": "4432801561520454",  # a well-known test number
    "credit_card_expiration_month": "1",
    "credit_card_cvv": "672",
}


class OnlyTheEdge(Resolver):
    """Knows one name, the Boutique's, and sends it to the edge on the loopback address.

    So URL, Host header, SNI and the certificate's name are the real ones, and no load can go anywhere else.
    """

    def getaddrinfo(self, host: Any, port: Any, *args: Any) -> list[Any]:
        """As `socket.getaddrinfo`."""
        name = host.decode() if isinstance(host, bytes) else host
        if name != SPEC.host:
            raise socket.gaierror(socket.EAI_NONAME, f"load goes to {SPEC.host} only, not to {name}")
        return super().getaddrinfo(SPEC.address, port, *args)


gevent.get_hub().resolver = OnlyTheEdge()
# Locust sets its own handler only when a shape has ended; until then SIGTERM shall end the run as Ctrl-C does.
signal.signal(signal.SIGTERM, signal.default_int_handler)
TLS = gevent.ssl.create_default_context(cafile=str(SPEC.ca_path))  # our CA and no other


class Shopper(FastHttpUser):
    """A user with a cart and some patience."""

    host = f"https://{SPEC.host}:{SPEC.port}"
    wait_time = between(1, 3)
    insecure = False
    network_timeout = 10.0
    connection_timeout = 3.0

    @staticmethod
    def ssl_context_factory(**_: Any) -> gevent.ssl.SSLContext:
        """One context for all shoppers."""
        return TLS

    @task(7)
    def browse(self) -> None:
        """Look at the shop window and at one product."""
        self._page("home", "/", "/product/")
        self._page("product", f"/product/{random.choice(PRODUCTS)}", "product_id")  # noqa: S311

    @task(2)
    def add_to_cart(self) -> None:
        """Put a product into the cart and look at it."""
        self._add()
        self._page("cart", "/cart", "/cart/checkout")

    @task(1)
    def check_out(self) -> None:
        """Put a product into the cart and buy it."""
        self._add()
        form = {**ADDRESS, "credit_card_expiration_year": str(datetime.now(UTC).year + 1)}
        self._page("check-out", "/cart/checkout", "order is complete", form)

    def _add(self) -> None:
        form = {"product_id": random.choice(PRODUCTS), "quantity": str(random.randint(1, 3))}  # noqa: S311
        self.client.post("/cart", data=form, name="add to cart", allow_redirects=False)

    def _page(self, name: str, path: str, wanted: str, form: dict[str, str] | None = None) -> None:
        """Ask for a page; an answer without `wanted` in it is a failure, whatever its status."""
        method = "GET" if form is None else "POST"
        with self.client.request(method, path, data=form, name=name, catch_response=True) as reply:
            if reply.status_code == 200 and wanted not in (reply.text or ""):
                reply.failure(f"the page has no {wanted!r}")


class Shape(LoadTestShape):
    """The number of shoppers over time; ends the run at its bound, or when nobody wants its results any more."""

    def tick(self) -> tuple[int, float] | None:
        """Asked about once a second."""
        if os.getppid() != RUNNER_PID:
            return None
        return users_at(
            SPEC.shape,
            self.get_run_time(),
            users=SPEC.users,
            spawn_rate=SPEC.spawn_rate,
            duration_s=SPEC.duration_s,
        )


@events.init.add_listener
def record_requests(environment: Environment, **_: Any) -> None:
    """Append every request to the records, at once: they must survive the death of this process."""
    # Open for as long as the process lives.
    records = Path(os.environ["LOAD_RECORDS"]).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115

    @environment.events.request.add_listener
    def record(name: str, response_time: float, response: Any, exception: Any, start_time: float, **_: Any) -> None:
        line = {
            "wall_s": round(start_time, 4),
            "name": name,
            "ok": exception is None,
            "status": int(getattr(response, "status_code", 0) or 0),
            "ms": round(response_time, 1),
        }
        if exception is not None:
            bad_status = isinstance(exception, LocustBadStatusCode)
            line["error"] = f"HTTP {line['status']}" if bad_status else f"{type(exception).__name__}: {exception}"[:200]
        records.write(json.dumps(line, separators=(",", ":")) + "\n")
