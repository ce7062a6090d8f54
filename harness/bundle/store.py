"""Where the bundle lives: one folder a component in the cache, with a stamp that says what it was made from.

<cache>/bundle/<component>/key      the content hash; equal means nothing to do
<cache>/bundle/<component>/bin/     programs
<cache>/bundle/<component>/files/   manifests and data read from upstream's module
<cache>/bundle/registry/            the mirror registry's storage
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness._errors import BundleError
from harness._run import run
from harness.bundle.lock import RECIPES_DIR, ComponentSpec, read_lock
from harness.env import cache_dir

FIX = "run `harness bundle build`"


def bundle_dir() -> Path:
    """The bundle's folder in the cache."""
    return cache_dir() / "bundle"


def local_tag(name: str) -> str:
    """The tag in the local Docker daemon of an image that runs beside the cluster."""
    return f"resilience-harness/{name}:bundle"


def mirror_path(image: str) -> str:
    """An upstream image name without its host: the repository and tag under which the mirror serves it."""
    host, _, rest = image.partition("/")
    return rest if "." in host or ":" in host else image


def content_key(spec: ComponentSpec, origin: str) -> str:
    """The hash of all that a component is made from: its entry, its recipe's files, the keys of what it needs."""
    digest = hashlib.sha256(f"{origin}\n{spec.model_dump_json()}".encode())
    for path in _recipe_files(spec):
        digest.update(str(path.relative_to(RECIPES_DIR)).encode() + b"\0" + path.read_bytes())
    for need in sorted(spec.after):
        digest.update(content_key(read_lock()[need], origin).encode())
    return digest.hexdigest()[:32]


def stray(spec: ComponentSpec, names: Collection[str]) -> set[str]:
    """Names in a recipe's folder that are no part of it: programs that somebody built there by hand, hidden files."""
    return {n for n in names if n.startswith(".") or (spec.go and n in spec.go.programs)}


def _recipe_files(spec: ComponentSpec) -> list[Path]:
    files = {p for p in spec.docker_dir.rglob("*") if p.is_file()}
    if spec.recipe_dir != spec.docker_dir:
        # A folder shared for its Go module: the other component's Dockerfiles are not ours.
        files |= {p for p in spec.recipe_dir.iterdir() if p.suffix in {".go", ".mod", ".sum"}}
    return sorted(p for p in files if not stray(spec, p.relative_to(spec.docker_dir.parent).parts[1:]))


def stamp(name: str) -> dict[str, Any]:
    """What is known of a component that was made: `key`, `origin`, `took_s`; empty when it was not."""
    path = bundle_dir() / name / "stamp.json"
    data: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return data


def write_stamp(name: str, **facts: Any) -> None:
    """Record that a component is complete; the last thing a builder does."""
    path = bundle_dir() / name / "stamp.json"
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(facts))
    draft.replace(path)


def failed_before(spec: ComponentSpec) -> bool:
    """Whether making this component, as it is now, was tried and failed."""
    mark = stamp(spec.name)
    return "failed" in mark and mark["failed"] == content_key(spec, "build")


def local_images() -> frozenset[str]:
    """The tags of our images that the local Docker daemon has."""
    done = run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "resilience-harness/*"], timeout_s=30)
    return frozenset(done.out.split())


def missing(specs: Collection[ComponentSpec], source: str = "auto") -> list[ComponentSpec]:
    """The components that are not there, or were made from something else than what the lock says now.

    Args:
        specs: the components to look at.
        source: `pull` or `build` to count those as missing, too, that came from the other source.
    """
    have = local_images()
    absent = []
    for spec in specs:
        mark = stamp(spec.name)
        fresh = "key" in mark and mark["key"] == content_key(spec, mark["origin"])
        other = fresh and source not in ("auto", mark["origin"])
        if not fresh or other or any(local_tag(n) not in have for n in spec.local):
            absent.append(spec)
    return absent


@dataclass(frozen=True)
class Bundle:
    """The components that are there, by name."""

    specs: dict[str, ComponentSpec]

    @cached_property
    def _images(self) -> dict[str, str]:
        return {name: image for spec in self.specs.values() for name, image in spec.images.items()}

    @property
    def versions(self) -> dict[str, str]:
        """Version by component."""
        return {name: spec.version for name, spec in self.specs.items()}

    @property
    def registry_dir(self) -> Path:
        """The storage of the mirror registry."""
        return bundle_dir() / "registry"

    def has(self, component: str) -> bool:
        """Whether an (optional) component is there."""
        return component in self.specs or component in self._images

    def origin(self, component: str) -> str:
        """`build` or `pull`: where its images came from."""
        return str(stamp(component).get("origin", "absent"))

    def image(self, name: str) -> str:
        """The upstream name of an image, which nodes pull from the mirror."""
        if name not in self._images:
            raise BundleError(f"no image {name!r} in the bundle", last=", ".join(sorted(self._images)), fix=FIX)
        return self._images[name]

    def local_image(self, name: str) -> str:
        """The local Docker tag of an image that runs beside the cluster."""
        if not any(name in spec.local for spec in self.specs.values()):
            raise BundleError(f"no local image {name!r} in the bundle", fix=FIX)
        return local_tag(name)

    def manifest(self, component: str, name: str) -> Path:
        """A manifest or data folder that was read from a component's module."""
        return self._path(component, "files", name)

    def tool(self, name: str) -> Path:
        """A program of the bundle: for this machine (`kind`, `kubectl`) or to be put on nodes."""
        for spec in self.specs.values():
            if name in spec.tools:
                return self._path(spec.name, "bin", name)
        raise BundleError(f"no tool {name!r} in the bundle", fix=FIX)

    def node_program(self, name: str) -> Path:
        """`kubeadm`, `kubelet` or `kubectl` for a machine: as built, or out of the node image that was pulled."""
        built = bundle_dir() / "kubernetes" / "bin" / name
        if built.exists():
            return built
        taken = bundle_dir() / "node" / "bin" / name
        if not taken.exists():
            taken.parent.mkdir(parents=True, exist_ok=True)
            made = run(["docker", "create", self.local_image("node")], timeout_s=60).out.strip()
            try:
                run(["docker", "cp", "-q", f"{made}:/usr/bin/{name}", f"{taken}.new"], timeout_s=120)
            finally:
                run(["docker", "rm", "-f", made], timeout_s=60)
            taken.with_name(f"{name}.new").replace(taken)
        return taken

    def _path(self, component: str, kind: str, name: str) -> Path:
        path = bundle_dir() / component / kind / name
        if not path.exists():
            raise BundleError(f"{component} has no {kind}/{name}", where=str(path), fix=FIX)
        return path


def open_bundle(only: Collection[str] | None = None) -> Bundle:
    """The bundle as it is.

    Raises:
        BundleError: something that is not optional is missing; names it.
    """
    specs = {n: s for n, s in read_lock().items() if only is None or n in only}
    absent = {s.name for s in missing(specs.values())}
    needed = [n for n in absent if not specs[n].optional]
    if needed:
        raise BundleError("the bundle is not complete", last=f"missing {', '.join(sorted(needed))}", fix=FIX)
    return Bundle({n: s for n, s in specs.items() if n not in absent})
