"""Drift of one field: somebody changes a live object by hand, and Git says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import TargetError
from harness.faults import _drift
from harness.faults._kubectl import kubectl_undo, patch_back_line
from harness.faults._model import Aim, Fault, FaultContext, Object, Seen, Undo, register, require


@register
@dataclass(frozen=True, kw_only=True)
class DriftField(Fault):
    """Change one field of a live object. GitOps should put it back; the revert does when nobody has.

    Proof: the field reads as we wrote it, or the object's generation has moved on (true even after a quick heal).
    Control: its UID is the same, so it was changed and not replaced.

    Args:
        target: the object.
        pointer: JSON pointer of the field, such as `/spec/replicas`; one that Git sets, or GitOps does not look at it.
        value: what is written there; must differ from what is there.
    """

    name: ClassVar[str] = "gitops.drift-field"
    needs: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[tuple[str, ...]] = tuple(f"patch {kubectl_name}" for kubectl_name, _ in _drift.RESOURCES.values())

    target: Object
    pointer: str
    value: Any

    def validate(self) -> None:
        """Check kind and pointer."""
        _drift.resource(self.target.kind)
        inside = self.pointer.startswith(("/spec/", "/data/"))
        require(inside, f"{self.name}: pointer", self.pointer, "/spec/... or /data/...")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The object, and the value that Git gave it."""
        live = _drift.live_object(ctx, self.target)
        before = _drift.at(live, self.pointer)
        if before == self.value:
            raise TargetError(f"{self.pointer} is {self.value!r} already: no drift", where=str(self.target))
        facts = {"before": before, "generation": live["metadata"].get("generation", 0)}
        change = f"{self.pointer}: {before!r} -> {self.value!r}"
        return Aim((_drift.identity(self.target, live),), f"JSON patch {change}", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Put the original value back, if ours is still there on that very object."""
        before = aim.facts["before"]
        back: dict[str, Any] = {"op": "replace", "path": self.pointer, "value": before}
        if before is None:
            back = {"op": "remove", "path": self.pointer}
        name = _drift.resource(self.target.kind)[0]
        ours = [(self.pointer, self.value)]
        line = patch_back_line(name, self.target.name, self.target.namespace, aim.targets[0].uid, ours, [back])
        return (kubectl_undo(ctx, line),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Write the field, and mark in the history that the API accepted it."""
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": aim.targets[0].uid},
            {"op": "add", "path": self.pointer, "value": self.value},
        ]
        version = _drift.resource(self.target.kind)[1]
        ctx.kube.patch(self.target.kind, self.target.name, self.target.namespace, patch, api_version=version)
        _drift.accepted(ctx, aim, aim.mechanism)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does it hold our value, or did it for a moment?"""
        live = _drift.get(ctx, self.target)
        meta = (live or {}).get("metadata", {})
        now, generation = _drift.at(live, self.pointer), meta.get("generation", 0)
        same = meta.get("uid") == aim.targets[0].uid
        evidence = {"value": now, "generation": generation, "generation_before": aim.facts["generation"]}
        return Seen(same and now == self.value, evidence, bit=same and generation > aim.facts["generation"])
