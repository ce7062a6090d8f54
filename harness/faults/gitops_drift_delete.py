"""Drift by deletion: somebody deletes a live object that Git still has."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import ClassVar

from harness.faults import _drift
from harness.faults._kubectl import kubectl_undo
from harness.faults._model import Aim, Fault, FaultContext, Object, Seen, Undo, register


@register
@dataclass(frozen=True, kw_only=True)
class DriftDelete(Fault):
    """Delete a live object. GitOps should make it again; the revert does, from the original, when nobody has.

    Proof: that UID is gone. Control: the namespace is still there and answers.

    Args:
        target: the object.
    """

    name: ClassVar[str] = "gitops.drift-delete"
    needs: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[tuple[str, ...]] = tuple(
        f"create,delete {kubectl_name}" for kubectl_name, _ in _drift.RESOURCES.values()
    )

    target: Object

    def validate(self) -> None:
        """Check the kind."""
        _drift.resource(self.target.kind)

    def resolve(self, ctx: FaultContext) -> Aim:
        """The object, whole."""
        live = _drift.live_object(ctx, self.target)
        return Aim((_drift.identity(self.target, live),), "DELETE", {"original": _drift.original(live)})

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Create it from the original if there is none of that name; the old one may still be going."""
        body = shlex.quote(json.dumps(aim.facts["original"]))
        thing = f"{_drift.resource(self.target.kind)[0]} {self.target.name} -n {self.target.namespace}"
        return (
            kubectl_undo(
                ctx,
                f"k get namespace {self.target.namespace} >/dev/null",
                f"uid=$(k get {thing} --ignore-not-found -o jsonpath='{{.metadata.uid}}')",
                f'if [ "$uid" = {aim.targets[0].uid} ]; then',
                f"  [ -z \"$(k get {thing} -o jsonpath='{{.metadata.deletionTimestamp}}')\" ] || exit 1; fi",
                f'[ -n "$uid" ] || out=$(echo {body} | k create -f - 2>&1) || case $out in',
                '  *AlreadyExists*) :;; *) echo "$out" >&2; exit 1;; esac',
            ),
        )

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Delete that very object, and mark in the history that the API accepted it."""
        hit, version = aim.targets[0], _drift.resource(self.target.kind)[1]
        ctx.kube.delete(hit.kind, hit.name, hit.namespace, uid=hit.uid, api_version=version)
        _drift.accepted(ctx, aim, "deleted")

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Is there none of that name, or another one?"""
        live = _drift.get(ctx, self.target)
        uid = (live or {}).get("metadata", {}).get("uid")
        namespace = ctx.kube.get("Namespace", self.target.namespace)
        going = bool((live or {}).get("metadata", {}).get("deletionTimestamp"))
        here = namespace is not None
        evidence = {"uid": uid, "uid_before": aim.targets[0].uid, "namespace_there": here}
        return Seen(here and (live is None or going), evidence, bit=here and uid != aim.targets[0].uid)
