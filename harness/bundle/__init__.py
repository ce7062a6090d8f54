"""The bundle: pinned images, manifests and programs of every component, pulled or built, served by one mirror."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from filelock import FileLock, Timeout

from harness._clock import CLOCK
from harness._errors import BundleError, HarnessError, MachineNotReady, WaitTimeout
from harness._progress import Show
from harness._run import run
from harness._wait import Budget, wait_for
from harness.bundle.lock import ComponentSpec, read_lock
from harness.bundle.store import (
    Bundle,
    bundle_dir,
    content_key,
    failed_before,
    local_tag,
    missing,
    open_bundle,
    write_stamp,
)
from harness.env import cache_dir
from harness.setup import ensure_debootstrap

__all__ = ["Bundle", "ensure", "open_bundle", "read_lock"]

# Free disk: for the bundle itself, and for each Go module's downloads, objects and programs while it is built.
NEEDED_BYTES, PER_MODULE_BYTES, AT_MOST_BYTES = 3 * 2**30, 3 * 2**29, 15 * 2**30
WORKERS = 2  # two at once: while one links or packs on one core, the other compiles
LOCK_TIMEOUT_S = 7200
REGISTRY_BUDGET = Budget(30, every_s=0.2)


def ensure(
    *,
    show: Show,
    source: str = "auto",
    only: Collection[str] | None = None,
    optional: bool = False,
    upstream: str = "",
    keep_caches: bool | None = None,
) -> Bundle:
    """Make what is missing of the bundle; seconds, and no network, when nothing is.

    Args:
        show: the progress display.
        source: `pull`, `build`, or `auto`: pull where an upstream registry answers, build otherwise.
        only: component names; all when not given.
        optional: build the optional components, too, unless they failed before and nothing changed since. Pulling
            takes them along anyway, and those that `only` names are always tried.
        upstream: host:port of a registry that stands in for all upstream hosts.
        keep_caches: keep the compiler's caches, which make the next build quicker; when not given,
            HARNESS_KEEP_CACHES=1 or a file `keep-caches` in the cache folder says so.

    Raises:
        BundleError: a component that is not optional could not be made.
        MachineNotReady: too little disk.
    """
    specs = read_lock()
    wanted = _with_needs(specs, only)
    bundle_dir().mkdir(parents=True, exist_ok=True)
    with _only_us(show):
        todo = missing([specs[n] for n in wanted], source)
        required = [s for s in todo if not s.optional]
        extra = [s for s in todo if s.optional and (only is not None or not failed_before(s))]
        if required or (extra and (optional or only is not None or source == "pull")):
            source = _choose(source, upstream, show, required)
            todo = [*required, *(extra if optional or only is not None or source == "pull" else ())]
            show.say(f"bundle: {len(todo)} of {len(wanted)} components to make: {', '.join(s.name for s in todo)}")
            keep = _keep() if keep_caches is None else keep_caches
            _make_all(todo, show, source, upstream, keep=keep)
            if only is None and not keep:
                prune()
    return open_bundle(wanted)


@contextmanager
def _only_us(show: Show) -> Iterator[None]:
    lock = FileLock(bundle_dir() / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        show.say("bundle: another run is making it; waiting for that one")
        lock.acquire(timeout=LOCK_TIMEOUT_S)
    try:
        yield
    finally:
        lock.release()


def _keep() -> bool:
    return os.environ.get("HARNESS_KEEP_CACHES", "") not in ("", "0") or (cache_dir() / "keep-caches").exists()


def _with_needs(specs: dict[str, ComponentSpec], only: Collection[str] | None) -> list[str]:
    if only is None:
        return list(specs)
    wanted: list[str] = []

    def add(name: str) -> None:
        if name not in specs:
            raise BundleError(f"no component {name!r}", last=", ".join(specs))
        for need in specs[name].after:
            add(need)
        if name not in wanted:
            wanted.append(name)

    for name in ("slim", "registry", *only):
        add(name)
    return wanted


def _choose(source: str, upstream: str, show: Show, todo: Collection[ComponentSpec]) -> str:
    if source == "auto":
        from harness.bundle.pull import reachable

        source = "pull" if reachable(upstream) else "build"
        show.say(f"bundle: an image registry {'answers: pulling' if source == 'pull' else 'does not answer: building'}")
    if source == "build":
        ensure_debootstrap(show)
    free = shutil.disk_usage(cache_dir()).free
    modules = 0 if source == "pull" else sum(1 for s in todo if s.go and s.go.module)
    needed = min(NEEDED_BYTES + modules * PER_MODULE_BYTES, AT_MOST_BYTES)
    if free < needed:
        raise MachineNotReady(
            f"too little disk to {source} the bundle",
            where=str(cache_dir()),
            last=f"{free / 2**30:.1f} GiB free, {needed / 2**30:.1f} GiB needed",
            fix="free some, or set HARNESS_CACHE_DIR to a larger disk",
        )
    return source


def _make_all(todo: list[ComponentSpec], show: Show, source: str, upstream: str, *, keep: bool) -> None:
    from harness.bundle.build import drop_objects

    waiting = {s.name: s for s in todo}
    running: dict[Future[None], ComponentSpec] = {}
    registry = _Registry()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="bundle") as pool:
        try:
            while waiting or running:
                busy = {s.recipe_dir for s in running.values() if s.go}
                for spec in list(waiting.values()):
                    blocked = any(n in waiting or n in {r.name for r in running.values()} for n in spec.after)
                    # Two builds of one Go module would compile the same libraries twice.
                    if blocked or len(running) >= WORKERS or (spec.go and spec.recipe_dir in busy):
                        continue
                    del waiting[spec.name]
                    busy.add(spec.recipe_dir)
                    running[pool.submit(_make, spec, show, source, registry, upstream)] = spec
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    spec = running.pop(future)
                    _settle(future, spec, show)
                    recipe = spec.recipe_dir
                    if not keep and all(s.recipe_dir != recipe for s in (*waiting.values(), *running.values())):
                        drop_objects(recipe.name)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            registry.stop()
    collect_garbage()


def collect_garbage() -> None:
    """Remove what the mirror's storage still holds of images that were replaced."""
    args = ["docker", "run", "--rm", "--network=none", "-v", f"{bundle_dir() / 'registry'}:/var/lib/registry"]
    args += [local_tag("registry"), "docker-registry", "garbage-collect", "-m", "/etc/registry.yml"]
    run(args, timeout_s=300)


def _settle(future: Future[None], spec: ComponentSpec, show: Show) -> None:
    try:
        future.result()
    except HarnessError as err:
        if not spec.optional:
            raise
        write_stamp(spec.name, failed=content_key(spec, "build"), why=err.what)
        show.say(f"{spec.name} is optional and absent: {err.what}")


def _make(spec: ComponentSpec, show: Show, source: str, registry: _Registry, upstream: str) -> None:
    from harness.bundle.build import build
    from harness.bundle.pull import pull

    with show.step(f"bundle: {spec.name} {spec.version}") as step:
        start_s = CLOCK.monotonic()
        (bundle_dir() / spec.name).mkdir(parents=True, exist_ok=True)
        address = registry.address() if spec.images else ""
        if source == "pull":
            pull(spec, address, step, upstream)
        else:
            build(spec, address, step)
        write_stamp(
            spec.name, key=content_key(spec, source), origin=source, took_s=round(CLOCK.monotonic() - start_s, 1)
        )


class _Registry:
    """The mirror registry as a container of its own while images are pushed into it; started on first use."""

    name = "rh-bundle-registry"

    def __init__(self) -> None:
        self._address = ""
        self._lock = threading.Lock()

    def address(self) -> str:
        """host:port on the loopback interface."""
        with self._lock:
            if not self._address:
                self._address = start_registry(self.name)
            return self._address

    def stop(self) -> None:
        """Remove the container; the images stay in the bundle's storage."""
        if self._address:
            run(["docker", "rm", "-f", self.name], timeout_s=60, check=False)


def start_registry(name: str, extra: Collection[str] = ()) -> str:
    """Start a registry on the bundle's storage, on a free loopback port; return host:port when it answers."""
    import httpx

    run(["docker", "rm", "-f", name], timeout_s=60, check=False)
    storage = bundle_dir() / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    args = ["docker", "run", "-d", "--name", name, "-p", "127.0.0.1::5000", "-v", f"{storage}:/var/lib/registry"]
    run([*args, *extra, local_tag("registry")], timeout_s=60)
    shown = run(["docker", "port", name, "5000/tcp"], timeout_s=30).out
    address = shown.split()[0]

    def ask() -> str:
        try:
            return f"HTTP {httpx.get(f'http://{address}/v2/', timeout=2).status_code}"
        except httpx.HTTPError as err:
            return type(err).__name__

    try:
        wait_for(f"registry {name}", ask, lambda seen: seen == "HTTP 200", REGISTRY_BUDGET)
    except WaitTimeout as err:
        raise BundleError("the mirror registry does not answer", where=address, last=err.last) from err
    return address


@contextmanager
def stand_in_registry(name: str) -> Iterator[str]:
    """A registry that stands in for upstream, for tests of the pull source; gives host:port."""
    try:
        yield start_registry(name)
    finally:
        run(["docker", "rm", "-f", name], timeout_s=60, check=False)


def prune() -> None:
    """Remove the compiler's and the modules' caches."""
    shutil.rmtree(cache_dir() / "go", ignore_errors=True)


def clean() -> None:
    """Remove the bundle, the caches, and our images from the local Docker daemon."""
    from harness.bundle.store import local_images

    for tag in local_images():
        run(["docker", "image", "rm", "-f", tag], timeout_s=120, check=False)
    for part in ("bundle", "go", "logs"):
        shutil.rmtree(cache_dir() / part, ignore_errors=True)
