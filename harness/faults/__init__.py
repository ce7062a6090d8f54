"""Faults: one file each, one life for all, a dead-man behind every one.

`with injected(fault, ctx) as active:` is the whole interface; `catalogue()` knows every fault. The files of this package
that do not begin with an underscore hold the faults, and register them; a new fault is a new file.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from harness.faults._lifecycle import ActiveFault, State, all_injected, injected
from harness.faults._model import CATALOGUE, Aim, Fault, FaultContext, Object, Seen, Undo, Workload, register
from harness.faults._sweep import Swept, sweep


def catalogue() -> dict[str, type[Fault]]:
    """Every fault, by name."""
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith(("pod_", "network_", "node_", "gitops_", "platform_")):
            importlib.import_module(f"{__name__}.{info.name}")
    return dict(sorted(CATALOGUE.items()))


def __getattr__(name: str) -> Any:
    # `from harness.faults import PodKill`: found by class name, so that a new fault needs no line here.
    if name[:1].isupper():  # not a submodule that is being imported
        for kind in catalogue().values():
            if kind.__name__ == name:
                return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ActiveFault",
    "Aim",
    "Fault",
    "FaultContext",
    "Object",
    "Seen",
    "State",
    "Swept",
    "Undo",
    "Workload",
    "all_injected",
    "catalogue",
    "injected",
    "register",
    "sweep",
]
