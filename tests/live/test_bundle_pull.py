"""The pull source against a real registry on the loopback interface that stands in for all upstream hosts."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness import bundle
from harness._errors import BundleError
from harness._progress import Show
from harness._run import run
from harness.bundle.pull import digests_file
from harness.bundle.store import local_tag, mirror_path

pytestmark = pytest.mark.live
ETCD = "registry.k8s.io/etcd:3.6.6-0"
DEBIAN = "docker.io/library/debian:trixie-slim"
NAMES = ("first", "second")


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry with a base image and one component in it; the cache of this test is empty."""
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "upstream"))
    with bundle.stand_in_registry(f"rh-upstream-{uuid.uuid4().hex[:6]}") as address:
        publish(address, DEBIAN, local_tag("slim"))
        publish(address, ETCD, small_image(tmp_path, "first"))
        monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
        yield address
    # What the test pulled is the base image itself, so the local tags mean the same as before.
    run(["docker", "image", "rm", *(f"resilience-harness/test-{n}:test" for n in NAMES)], timeout_s=60, check=False)


def small_image(folder: Path, content: str) -> str:
    (folder / content).mkdir()
    (folder / content / "Dockerfile").write_text("FROM scratch\nCOPY content /\n")
    (folder / content / "content").write_text(content)
    tag = f"resilience-harness/test-{content}:test"
    run(["docker", "build", "-q", "-t", tag, str(folder / content)], timeout_s=120, env={"DOCKER_BUILDKIT": "0"})
    return tag


def publish(address: str, image: str, tag: str) -> None:
    remote = f"{address}/{mirror_path(image)}"
    run(["docker", "tag", tag, remote], timeout_s=30)
    run(["docker", "push", "-q", remote], timeout_s=300)
    run(["docker", "image", "rm", remote], timeout_s=60)


def ensure(upstream: str) -> bundle.Bundle:
    return bundle.ensure(show=Show(io.StringIO(), live=False), source="pull", only=["etcd"], upstream=upstream)


def test_pulled_images_land_in_the_mirror_and_a_moved_tag_is_refused(upstream: str, tmp_path: Path) -> None:
    made = ensure(upstream)
    assert made.origin("etcd") == "pull"
    recorded = json.loads(digests_file().read_text())
    assert set(recorded) == {DEBIAN, ETCD}
    with bundle.stand_in_registry(f"rh-mirror-{uuid.uuid4().hex[:6]}") as mirror:
        assert "3.6.6-0" in httpx.get(f"http://{mirror}/v2/etcd/tags/list", timeout=5).json()["tags"]
    assert ensure("127.0.0.1:9").image("etcd") == ETCD, "a complete bundle needs no network"

    publish(upstream, ETCD, small_image(tmp_path, "second"))
    (bundle.store.bundle_dir() / "etcd" / "stamp.json").unlink()
    with pytest.raises(BundleError, match="not what it was") as seen:
        ensure(upstream)
    assert recorded[ETCD] in str(seen.value)
    assert json.loads(digests_file().read_text()) == recorded
