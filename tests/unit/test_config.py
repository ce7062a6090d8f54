"""The configuration: file, variables, flags, and errors that name what is wrong, where, and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness._errors import UsageError
from harness.config import Config, keys, load, variable

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "harness.toml"


def read(file: Path, text: str, **variables: str) -> Config:
    file.write_text(text)
    return load({"HARNESS_CONFIG": str(file), **variables})


def refused(file: Path, text: str, **variables: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(file, text, **variables)
    return caught.value


def test_defaults_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load({})
    assert (found.provider, found.profile, found.env, found.users) == ("kind", "fast", "desk", 10)


def test_the_nearest_file_upwards_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('env = "lab"')
    below = file.parent / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert load({}).env == "lab"


def test_a_variable_wins_over_the_file_and_the_file_over_the_default(file: Path) -> None:
    found = read(file, 'profile = "stock"\nusers = 20', HARNESS_USERS="30", HARNESS_KIND_WORKERS="4")
    assert (found.profile, found.users, found.kind.workers) == ("stock", 30, 4)


def test_every_key_can_be_a_variable(file: Path) -> None:
    assert len({variable(k) for k in keys()}) == len(list(keys()))
    assert variable(("attached", "addresses", "git")) == "HARNESS_ATTACHED_ADDRESSES_GIT"
    found = read(
        file, "", HARNESS_ATTACHED_NAMESPACES="boutique-*, shop", HARNESS_ATTACHED_ADDRESSES_GIT="http://git.test"
    )
    assert found.attached.namespaces == ("boutique-*", "shop")
    assert found.attached.addresses.git == "http://git.test"


def test_a_relative_path_is_meant_from_the_folder_of_the_file(file: Path) -> None:
    assert read(file, "").kubeadm.inventory == file.parent / "inventory.toml"
    assert read(file, '[attached]\nkubeconfig = "k"').attached.kubeconfig == file.parent / "k"


def test_an_unknown_key_is_named_with_those_that_exist(file: Path) -> None:
    error = refused(file, "[kind]\nworker = 3")
    assert error.what == "unknown key 'kind.worker'"
    assert error.where == str(file)
    assert error.fix == "one of control_planes, workers"


def test_a_bad_value_in_the_file_names_file_and_key(file: Path) -> None:
    error = refused(file, 'provider = "eks"')
    assert error.what == "provider cannot be 'eks'"
    assert error.where == str(file)
    assert "'kind', 'kubeadm' or 'attached'" in error.fix


def test_a_bad_variable_is_named(file: Path) -> None:
    error = refused(file, "", HARNESS_KIND_WORKERS="many")
    assert (error.what, error.where) == ("kind.workers cannot be 'many'", "HARNESS_KIND_WORKERS")


@pytest.mark.parametrize("text", ["users = 0", "users = 1000", "[kind]\nworkers = 0", "[kind]\ncontrol_planes = 3"])
def test_numbers_have_limits(file: Path, text: str) -> None:
    assert "cannot be" in refused(file, text).what


def test_a_table_that_is_no_table_is_refused_with_a_variable_too(file: Path) -> None:
    assert refused(file, "kind = 3", HARNESS_KIND_WORKERS="2").what == "kind cannot be 3"


def test_no_toml_is_said_with_the_place(file: Path) -> None:
    error = refused(file, "provider = kind")
    assert error.where == str(file)
    assert "line 1" in str(error.last)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such configuration file"):
        load({"HARNESS_CONFIG": str(tmp_path / "gone.toml")})


def test_the_example_in_the_docs_is_valid(file: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example is not None
    assert read(file, example[1]).attached.namespaces == ("boutique-*",)


def test_the_docs_name_every_key() -> None:
    text = DOCS.read_text()
    assert [variable(k) for k in keys() if f"`{variable(k)}`" not in text] == []
