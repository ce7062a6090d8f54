"""The pull source: upstream's images by tag, each checked against the digest that its first pull recorded."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import httpx

from harness._errors import BundleError, CommandFailed
from harness._progress import Step
from harness._run import run
from harness.bundle.build import build_images, build_programs, push, read_files
from harness.bundle.lock import ComponentSpec
from harness.bundle.store import bundle_dir, local_tag, mirror_path

PROBE_TIMEOUT_S = 4.0
PULL_TIMEOUT_S = 1200
_digests_lock = threading.Lock()


def reachable(upstream: str = "") -> bool:
    """Whether an upstream registry answers: any HTTP answer of its API counts."""
    url = f"http://{upstream}/v2/" if upstream else "https://registry.k8s.io/v2/"
    try:
        return httpx.get(url, timeout=PROBE_TIMEOUT_S, follow_redirects=True).status_code in {200, 401}
    except httpx.HTTPError:
        return False


def digests_file() -> Path:
    """Where digests are recorded, by upstream image name."""
    return bundle_dir() / "digests.json"


def check_digest(image: str, digest: str, recorded: dict[str, str]) -> dict[str, str]:
    """The record with this image's digest in it.

    Raises:
        BundleError: the tag gives another digest than it did the first time.
    """
    before = recorded.get(image)
    if before and before != digest:
        raise BundleError(
            f"{image} is not what it was",
            last=f"recorded {before}, now {digest}",
            fix=f"if upstream moved the tag on purpose, remove its line from {digests_file().name} in the cache",
        )
    return {**recorded, image: digest}


def pull_image(image: str, tag: str, upstream: str = "") -> str:
    """Pull an image, check its digest, tag it locally as `tag`; return the digest.

    Args:
        image: upstream name.
        tag: local tag.
        upstream: host:port of a registry that stands in for all upstream hosts.
    """
    source = f"{upstream}/{mirror_path(image)}" if upstream else image
    try:
        said = run(["docker", "pull", source], timeout_s=PULL_TIMEOUT_S, where="upstream registry").out
    except CommandFailed as err:
        raise BundleError(f"cannot pull {image}", last=err.last, fix="`harness bundle build` makes it") from err
    found = re.search(r"^Digest: (sha256:\w+)$", said, flags=re.MULTILINE)
    if not found:
        raise BundleError(f"{image} has no digest", last=said)
    _record(image, found[1])
    run(["docker", "tag", source, tag], timeout_s=30)
    run(["docker", "image", "rm", source], timeout_s=60, check=False)
    return found[1]


def _record(image: str, digest: str) -> None:
    path = digests_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _digests_lock:
        recorded: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(check_digest(image, digest, recorded), indent=1, sort_keys=True))
        draft.replace(path)


def pull(spec: ComponentSpec, registry: str, step: Step, upstream: str = "") -> None:
    """Make one component from upstream's images; programs, manifests and images of our own are still built."""
    if not spec.images and not spec.pull:
        build_programs(spec, step)
        read_files(spec)
        build_images(spec, registry, step)
        return
    if spec.tools:
        build_programs(spec, step, only=spec.tools)
    read_files(spec)
    if spec.pull:
        step.note(f"pulling {spec.pull}")
        pull_image(spec.pull, local_tag(spec.local[0]), upstream)
    for name, image in spec.images.items():
        step.note(f"pulling {image}")
        pull_image(image, local_tag(name), upstream)
        push(local_tag(name), registry, image)
        run(["docker", "image", "rm", local_tag(name)], timeout_s=60, check=False)
