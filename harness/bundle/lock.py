"""The lock file: which components there are, at which versions, made how."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from harness._errors import BundleError

LOCK_FILE = Path(__file__).with_name("lock.toml")
RECIPES_DIR = Path(__file__).parents[2] / "deploy" / "images"


class GoSource(BaseModel):
    """Programs built from a Go module; `module` is empty when the recipe folder is the module itself.

    `generate` is a Python script of the recipe that writes missing sources first, in a copy of the recipe's folder; it
    is given the Go program. `cgo` links C statically, which needs a C compiler on this machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    module: str = ""
    programs: dict[str, str]
    ldflags: str = ""
    tags: str = ""
    generate: str = ""
    cgo: bool = False


class ComponentSpec(BaseModel):
    """One entry of the lock file; see the comments at its top."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: str
    recipe: str = ""
    base: str = ""
    needs: tuple[str, ...] = ()
    go: GoSource | None = None
    files: dict[str, str] = {}
    images: dict[str, str] = {}
    local: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    pull: str = ""
    optional: bool = False

    @property
    def recipe_dir(self) -> Path:
        """The folder with go.mod and programs; Dockerfiles are always in the folder named like the component."""
        return RECIPES_DIR / (self.recipe or self.name)

    @property
    def docker_dir(self) -> Path:
        """The folder with the Dockerfile."""
        return RECIPES_DIR / self.name

    @property
    def after(self) -> tuple[str, ...]:
        """Names of the components that must be made before this one."""
        return (*self.needs, *((self.base,) if self.base else ()))


@cache
def read_lock(path: Path = LOCK_FILE) -> dict[str, ComponentSpec]:
    """All components, by name.

    Raises:
        BundleError: the file cannot be read, or an entry is not valid; names the entry.
    """
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as err:
        raise BundleError("cannot read the lock file", where=str(path), last=err) from err
    if data.get("schema") != 1:
        raise BundleError("this lock file has an unknown schema", where=str(path), last=data.get("schema"))
    specs: dict[str, ComponentSpec] = {}
    for name, entry in data.get("component", {}).items():
        try:
            specs[name] = ComponentSpec(name=name, **entry)
        except (ValidationError, TypeError) as err:
            raise BundleError(f"entry {name!r} is not valid", where=str(path), last=str(err)) from err
    for spec in specs.values():
        for need in spec.after:
            if need not in specs:
                raise BundleError(f"entry {spec.name!r} needs {need!r}, which is not there", where=str(path))
    return specs
