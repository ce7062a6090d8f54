from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import bundle
from harness._errors import BundleError, CommandFailed, MachineNotReady
from harness._progress import Show
from harness._run import Completed
from harness.bundle import build, lock, pull, store
from harness.bundle.lock import ComponentSpec, GoSource, read_lock


class FakeRun:
    """Answers commands by their first words; remembers them all; refuses none."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answers: dict[str, str | Callable[[str], str]] = {}
        self.broken: set[str] = set()

    def __call__(self, args: Sequence[str], **_: Any) -> Completed:
        line = " ".join(args)
        self.calls.append(line)
        for start in self.broken:
            if start in line:
                raise CommandFailed(f"{line}: exit 1", last="boom")
        for start, answer in self.answers.items():
            if start in line:
                return Completed(tuple(args), 0, answer(line) if callable(answer) else answer, "", 0.0)
        return Completed(tuple(args), 0, "", "", 0.0)

    def said(self, part: str) -> list[str]:
        return [c for c in self.calls if part in c]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRun:
    made = FakeRun()
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_KEEP_CACHES", raising=False)
    for module in (bundle, build, pull, store):
        monkeypatch.setattr(module, "run", made)
    (tmp_path / "cache").mkdir()
    return made


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A small lock: base <- app <- extra (optional), with recipes on disk."""
    root = tmp_path / "images"
    entries = """
schema = 1
[component.slim]
version = "1"
local = ["slim"]
[component.registry]
version = "1"
base = "slim"
local = ["registry"]
[component.app]
version = "1"
base = "slim"
images = { web = "quay.io/acme/web:1", worker = "quay.io/acme/worker:1" }
[component.extra]
version = "1"
base = "slim"
optional = true
images = { extra = "quay.io/acme/extra:1" }
"""
    for name in ("slim", "registry", "app", "extra"):
        (root / name).mkdir(parents=True)
        (root / name / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY bin/${SERVICE} /\n")
    path = tmp_path / "lock.toml"
    path.write_text(entries)
    monkeypatch.setattr(lock, "RECIPES_DIR", root)
    monkeypatch.setattr(store, "RECIPES_DIR", root)
    specs = read_lock(path)
    monkeypatch.setattr(bundle, "read_lock", lambda: specs)
    monkeypatch.setattr(store, "read_lock", lambda: specs)
    return root


@pytest.fixture
def machine(fake: FakeRun, monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    """Building works: images appear in the daemon when they are built."""
    fake.answers["docker image ls"] = "resilience-harness/slim:bundle resilience-harness/registry:bundle"
    monkeypatch.setattr(bundle, "ensure_debootstrap", lambda show: None)
    monkeypatch.setattr(bundle, "start_registry", lambda name, extra=(): "127.0.0.1:5555")
    monkeypatch.setattr(build, "make_base", lambda: None)
    return fake


def quiet() -> Show:
    return Show(io.StringIO(), live=False)


def test_the_real_lock_is_valid_and_every_recipe_has_its_files() -> None:
    for spec in read_lock().values():
        assert spec.docker_dir.is_dir(), spec.name
        if spec.go:
            assert (spec.recipe_dir / "go.mod").exists(), spec.name
        if spec.go and spec.go.module:
            pinned = (spec.recipe_dir / "go.mod").read_text()
            assert spec.go.module in pinned, f"{spec.name}: go.mod does not require {spec.go.module}"
            assert (spec.recipe_dir / "go.sum").exists(), spec.name


def test_upstream_names_are_unique_and_name_a_tag() -> None:
    images = [image for spec in read_lock().values() for image in spec.images.values()]
    assert len(images) == len(set(images))
    assert all(":" in image.rpartition("/")[2] for image in images)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("schema = 2", "schema"),
        ("schema = 1\n[component.a]\n", "'a'"),
        ('schema = 1\n[component.a]\nversion = "1"\ncolour = "red"\n', "'a'"),
        ('schema = 1\n[component.a]\nversion = "1"\nneeds = ["b"]\n', "'b'"),
        ("schema = ", "cannot read"),
    ],
)
def test_a_bad_lock_is_refused_and_the_entry_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(BundleError, match=named):
        read_lock(path)


def test_mirror_paths_keep_repository_and_tag() -> None:
    assert store.mirror_path("registry.k8s.io/coredns/coredns:v1") == "coredns/coredns:v1"
    assert store.mirror_path("docker.io/library/redis:7") == "library/redis:7"
    assert store.mirror_path("acme/web:1") == "acme/web:1"


def test_build_makes_everything_once_and_then_nothing(machine: FakeRun, recipes: Path) -> None:
    made = bundle.ensure(show=quiet(), source="build")
    assert made.image("web") == "quay.io/acme/web:1"
    assert len(machine.said("docker build")) == 3  # registry, web, worker
    assert "docker push -q 127.0.0.1:5555/acme/web:1" in machine.calls
    before = len(machine.said("docker build"))
    bundle.ensure(show=quiet(), source="auto")
    assert len(machine.said("docker build")) == before


def test_changing_one_recipe_rebuilds_that_one(machine: FakeRun, recipes: Path) -> None:
    bundle.ensure(show=quiet(), source="build")
    machine.calls.clear()
    (recipes / "app" / "Dockerfile").write_text("FROM scratch\n")
    bundle.ensure(show=quiet(), source="build")
    built = machine.said("docker build")
    assert len(built) == 2
    assert all("SERVICE=w" in c for c in built), "web and worker"


def test_changing_the_base_rebuilds_what_stands_on_it(machine: FakeRun, recipes: Path) -> None:
    bundle.ensure(show=quiet(), source="build")
    machine.calls.clear()
    (recipes / "slim" / "Dockerfile").write_text("FROM scratch\n")
    bundle.ensure(show=quiet(), source="build")
    assert len(machine.said("docker build")) == 3


def test_a_program_left_in_a_recipe_by_hand_changes_nothing(recipes: Path) -> None:
    spec = ComponentSpec(name="app", version="1", go=GoSource(programs={"app": "./"}))
    before = store.content_key(spec, "build")
    (recipes / "app" / "app").write_bytes(b"\x7fELF")
    (recipes / "app" / ".hidden").write_text("x")
    assert store.content_key(spec, "build") == before
    (recipes / "app" / "main.go").write_text("package main")
    assert store.content_key(spec, "build") != before


def test_a_shared_module_folder_counts_without_its_owners_dockerfiles(recipes: Path) -> None:
    spec = ComponentSpec(name="extra", version="1", recipe="app", go=GoSource(programs={"extra": "x"}))
    before = store.content_key(spec, "build")
    (recipes / "app" / "Dockerfile").write_text("FROM scratch\n")
    assert store.content_key(spec, "build") == before
    (recipes / "app" / "go.mod").write_text("module x\n")
    assert store.content_key(spec, "build") != before


def test_a_component_that_fails_names_itself_and_the_rest_resumes(machine: FakeRun, recipes: Path) -> None:
    machine.broken = {"SERVICE=worker"}
    with pytest.raises(BundleError, match="cannot build app"):
        bundle.ensure(show=quiet(), source="build")
    with pytest.raises(BundleError, match="not complete") as seen:
        bundle.open_bundle()
    assert "app" in str(seen.value.last)
    machine.broken.clear()
    machine.calls.clear()
    bundle.ensure(show=quiet(), source="build")
    assert not machine.said("SERVICE=registry"), "what was complete is not made again"


def test_an_optional_component_that_fails_is_absent_and_said(machine: FakeRun, recipes: Path) -> None:
    machine.broken = {"SERVICE=extra"}
    stream = io.StringIO()
    made = bundle.ensure(show=Show(stream, live=False), source="build", optional=True)
    assert "extra is optional and absent" in stream.getvalue()
    assert not made.has("extra")
    assert made.has("app")
    with pytest.raises(BundleError, match="no image 'extra'"):
        made.image("extra")
    machine.calls.clear()
    bundle.ensure(show=quiet(), source="build", optional=True)
    assert not machine.said("docker build"), "what failed is not tried again until it changes"
    machine.broken.clear()
    assert bundle.ensure(show=quiet(), source="build", only=["extra"]).has("extra")


def test_an_optional_component_is_built_only_on_demand(machine: FakeRun, recipes: Path) -> None:
    assert not bundle.ensure(show=quiet(), source="build").has("extra")
    assert not bundle.ensure(show=quiet(), source="auto").has("extra")
    assert bundle.ensure(show=quiet(), source="build", optional=True).has("extra")


def test_only_brings_what_it_stands_on(machine: FakeRun, recipes: Path) -> None:
    made = bundle.ensure(show=quiet(), source="build", only=["extra"])
    assert set(made.specs) == {"slim", "registry", "extra"}
    with pytest.raises(BundleError, match="no component 'nope'"):
        bundle.ensure(show=quiet(), source="build", only=["nope"])


def test_a_lost_local_image_is_made_again(machine: FakeRun, recipes: Path) -> None:
    bundle.ensure(show=quiet(), source="build")
    machine.answers["docker image ls"] = "resilience-harness/slim:bundle"
    assert [s.name for s in store.missing(store.read_lock().values())] == ["registry", "extra"]


def test_a_forced_source_remakes_what_came_from_the_other(machine: FakeRun, recipes: Path) -> None:
    bundle.ensure(show=quiet(), source="build")
    specs = store.read_lock().values()
    assert [s.name for s in store.missing(specs, "build")] == ["extra"]
    assert len(store.missing(specs, "pull")) == 4  # the optional one is not there at all


def test_too_little_disk_is_said_before_anything_starts(
    machine: FakeRun, recipes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 2**30

    monkeypatch.setattr(bundle.shutil, "disk_usage", lambda _: Usage)  # type: ignore[attr-defined]
    with pytest.raises(MachineNotReady, match="too little disk"):
        bundle.ensure(show=quiet(), source="build")
    assert not machine.said("docker build")


@pytest.mark.parametrize(("keep", "left"), [(True, True), (None, False)])
def test_caches_go_unless_kept(machine: FakeRun, recipes: Path, keep: bool | None, left: bool) -> None:
    cache = build.cache_dir() / "go"
    cache.mkdir(parents=True)
    bundle.ensure(show=quiet(), source="build", keep_caches=keep)
    assert cache.exists() is left


def test_a_recipe_begins_with_the_library_that_the_first_has_compiled(machine: FakeRun, recipes: Path) -> None:
    compiled = build.objects_dir(build.SEED) / "ab" / "ab12-d"
    compiled.parent.mkdir(parents=True)
    compiled.write_text("fmt.a")
    build.seed_objects("early")
    assert not build.objects_dir("early").exists(), "the first recipe is still at it"
    (store.bundle_dir() / build.SEED).mkdir(parents=True)
    store.write_stamp(build.SEED, key="k", origin="build")
    build.seed_objects("late")
    assert (build.objects_dir("late") / "ab" / "ab12-d").stat().st_ino == compiled.stat().st_ino
    build.drop_objects("late")
    build.drop_objects(build.SEED)
    assert compiled.exists()
    assert not build.objects_dir("late").exists()


def test_auto_pulls_where_upstream_answers(machine: FakeRun, recipes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "reachable", lambda upstream="": True)
    machine.answers["docker pull"] = "Digest: sha256:1"
    made = bundle.ensure(show=quiet())
    assert made.origin("app") == "pull"
    assert "docker pull quay.io/acme/web:1" in machine.calls


def test_the_first_digest_is_recorded_and_another_refused(fake: FakeRun) -> None:
    fake.answers["docker pull"] = "Digest: sha256:aaa"
    assert pull.pull_image("quay.io/acme/web:1", "x") == "sha256:aaa"
    assert pull.pull_image("quay.io/acme/web:1", "x") == "sha256:aaa"
    fake.answers["docker pull"] = "Digest: sha256:bbb"
    with pytest.raises(BundleError, match="not what it was") as seen:
        pull.pull_image("quay.io/acme/web:1", "x")
    assert "sha256:aaa" in str(seen.value)
    assert json.loads(pull.digests_file().read_text()) == {"quay.io/acme/web:1": "sha256:aaa"}


def test_a_stand_in_upstream_replaces_the_host(fake: FakeRun) -> None:
    fake.answers["docker pull"] = "Digest: sha256:aaa"
    pull.pull_image("quay.io/acme/web:1", "x", upstream="127.0.0.1:5001")
    assert "docker pull 127.0.0.1:5001/acme/web:1" in fake.calls


def test_an_image_that_cannot_be_pulled_says_what_else_there_is(fake: FakeRun) -> None:
    fake.broken = {"docker pull"}
    with pytest.raises(BundleError, match="cannot pull") as seen:
        pull.pull_image("quay.io/acme/web:1", "x")
    assert "bundle build" in seen.value.fix


def test_an_unreachable_registry_means_no() -> None:
    assert not pull.reachable("127.0.0.1:9")


def test_digests_recorded_by_two_threads_are_all_kept(fake: FakeRun) -> None:
    fake.answers["docker pull"] = "1: Pulling from a\nDigest: sha256:1\nStatus: x"
    threads = [threading.Thread(target=pull.pull_image, args=(f"quay.io/a/i{n}:1", "x")) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(json.loads(pull.digests_file().read_text())) == 8


def test_only_what_a_dockerfile_names_is_sent_to_docker(fake: FakeRun, tmp_path: Path) -> None:
    made = store.bundle_dir() / "app" / "bin"
    made.mkdir(parents=True)
    for name in ("web", "worker"):
        (made / name).write_text(name)
    context = tmp_path / "context"
    context.mkdir()
    build._fill(context, "FROM x\nCOPY bin/web /\nENTRYPOINT /usr/local/bin/other", ["app"])
    assert sorted(p.name for p in (context / "bin").iterdir()) == ["web"]


def test_the_mirror_comes_from_the_machines_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "sources.list.d"
    folder.mkdir()
    (folder / "debian.sources").write_text(
        "Types: deb\nURIs: http://security.example/debian-security\n\nURIs: http://mirror.example/debian\n"
    )
    real = Path

    def moved(path: str) -> Path:
        return real(str(path).replace("/etc/apt", str(tmp_path)))

    monkeypatch.setattr(build, "Path", moved)
    assert build.apt_mirror() == "http://mirror.example/debian"
    (folder / "debian.sources").unlink()
    with pytest.raises(MachineNotReady, match="no Debian mirror"):
        build.apt_mirror()
