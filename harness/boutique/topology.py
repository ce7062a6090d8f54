"""The shop as data: its services, who calls whom, which loss users feel, and which alert names which service.

It mirrors the manifests in deploy/boutique (a unit test compares them). Faults, contracts and tests read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OVERLAYS = ("stock", "hardened")
INGRESS_NAMESPACE = "ingress-nginx"
TLS_SECRET = "boutique-tls"  # noqa: S105 - the name of the Secret, not what is in it
RELEASE_MARK = "release:"  # FRONTEND_MESSAGE is `release:<version>`; the frontend shows it on every page


@dataclass(frozen=True)
class Service:
    """One service of the shop.

    Args:
        name: of its Deployment, its Service, its ServiceAccount, its NetworkPolicy and its label `app`.
        port: what its pods listen on.
        service_port: what callers use.
        alert: the alert that says that it is down, if there is one.
        stateful: whether a second replica would be another store.
    """

    name: str
    port: int
    service_port: int
    alert: str = ""
    stateful: bool = False

    @property
    def protocol(self) -> str:
        """What it speaks: `http`, `redis` or `grpc`."""
        return {"frontend": "http", "redis-cart": "redis"}.get(self.name, "grpc")

    def replicas(self, overlay: str) -> int:
        """How many pods it has under an overlay."""
        if overlay not in OVERLAYS:
            raise ValueError(f"no overlay {overlay!r}, only {', '.join(OVERLAYS)}")
        return 2 if overlay == "hardened" and not self.stateful else 1


@dataclass(frozen=True)
class Edge:
    """`caller` calls `callee`.

    Args:
        caller: a service's name.
        callee: a service's name.
        pages: which of the shop's pages fail when the call fails; empty: users hardly notice.
    """

    caller: str
    callee: str
    pages: frozenset[str] = frozenset()

    @property
    def critical(self) -> bool:
        """Whether the loss of this edge fails requests of users."""
        return bool(self.pages)


SERVICES: dict[str, Service] = {
    s.name: s
    for s in (
        Service("adservice", 9555, 9555),
        Service("cartservice", 7070, 7070, alert="CartServiceDown"),
        Service("checkoutservice", 5050, 5050, alert="CheckoutServiceDown"),
        Service("currencyservice", 7000, 7000),
        Service("emailservice", 8080, 5000),
        Service("frontend", 8080, 80, alert="FrontendDown"),
        Service("paymentservice", 50051, 50051, alert="PaymentServiceDown"),
        Service("productcatalogservice", 3550, 3550),
        Service("recommendationservice", 8080, 8080),
        Service("redis-cart", 6379, 6379, alert="RedisCartDown", stateful=True),
        Service("shippingservice", 50051, 50051),
    )
}

HOME, PRODUCT, CART, ADD, ORDER = "home", "product", "cart", "add to cart", "check-out"
PAGES = (HOME, PRODUCT, CART, ADD, ORDER)


def _edge(caller: str, callee: str, *pages: str) -> Edge:
    return Edge(caller, callee, frozenset(pages))


EDGES: tuple[Edge, ...] = (
    _edge("frontend", "adservice"),
    _edge("frontend", "cartservice", HOME, PRODUCT, CART, ADD),
    _edge("frontend", "checkoutservice", ORDER),
    _edge("frontend", "currencyservice", HOME, PRODUCT, CART, ORDER),
    _edge("frontend", "productcatalogservice", HOME, PRODUCT, CART, ADD),
    _edge("frontend", "recommendationservice"),
    _edge("frontend", "shippingservice", CART),
    _edge("checkoutservice", "cartservice", ORDER),
    _edge("checkoutservice", "currencyservice", ORDER),
    _edge("checkoutservice", "emailservice"),
    _edge("checkoutservice", "paymentservice", ORDER),
    _edge("checkoutservice", "productcatalogservice", ORDER),
    _edge("checkoutservice", "shippingservice", ORDER),
    _edge("recommendationservice", "productcatalogservice"),
    _edge("cartservice", "redis-cart", HOME, PRODUCT, CART, ADD, ORDER),
)

ALERTS: dict[str, str] = {s.alert: s.name for s in SERVICES.values() if s.alert}  # alert -> service


def service(name: str) -> Service:
    """The service of that name; `cart`, `payment` and the like are understood as `cartservice`, `paymentservice`.

    Raises:
        KeyError: no such service; names those that there are.
    """
    for candidate in (name, f"{name}service", f"{name}-cart"):
        if candidate in SERVICES:
            return SERVICES[candidate]
    raise KeyError(f"no service {name!r} in the shop, only {', '.join(SERVICES)}")


def callers(name: str) -> tuple[str, ...]:
    """Who calls the service."""
    return tuple(e.caller for e in EDGES if e.callee == name)


def callees(name: str) -> tuple[str, ...]:
    """Whom the service calls."""
    return tuple(e.callee for e in EDGES if e.caller == name)


def broken_pages(name: str) -> frozenset[str]:
    """Which pages fail while the service is down."""
    if name == "frontend":
        return frozenset(PAGES)
    return frozenset(page for e in EDGES if e.callee == name for page in e.pages)


def alerts_of_loss(name: str) -> frozenset[str]:
    """The alerts that may rightly fire while the service has no pod that works.

    Its own, and those of callers whose readiness includes it: the cart is not ready without its store.
    """
    down = {name, "cartservice"} if name == "redis-cart" else {name}
    return frozenset(SERVICES[each].alert for each in down if SERVICES[each].alert)


def release_in(page: str) -> str | None:
    """The version that a page of the shop says it is, or None."""
    found = re.search(rf"{RELEASE_MARK}([\w.+-]+)", page)
    return found.group(1) if found else None
