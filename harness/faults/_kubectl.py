"""API objects undone from the cluster itself: scripts for the control-plane node's own kubectl, retried until they work."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any

from harness.faults._model import HOST, FaultContext, Undo

_ON_NODE = ("kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf")


def kubectl_undo(ctx: FaultContext, *lines: str) -> Undo:
    """An undo by `k ...` lines (`k` is kubectl), which stop at the first that fails.

    It lives on the control-plane node, as administrator; on the runner's machine when the cluster is not ours.
    """
    own = ctx.cluster.kubectl
    where = HOST if own else ctx.cluster.control_plane.name
    head = f'k() {{ {shlex.join(own or _ON_NODE)} --request-timeout=5s "$@"; }}\n'
    return Undo(where, "set -e\n" + head + "\n".join(lines) + "\n")


def delete_line(kind: str, name: str, namespace: str = "") -> str:
    """Delete an object by name, if it is there."""
    where = f" -n {namespace}" if namespace else ""
    return f"k delete {kind} {name}{where} --ignore-not-found --wait=false"


def delete_labelled_line(kinds: str, label: str, value: str, namespace: str = "") -> str:
    """Delete the objects that carry a label."""
    where = f" -n {namespace}" if namespace else ""
    return f"k delete {kinds} -l {label}={value}{where} --ignore-not-found --wait=false"


def patch_back_line(
    resource: str,
    name: str,
    namespace: str,
    uid: str,
    ours: Iterable[tuple[str, Any]],
    original: Iterable[dict[str, Any]],
) -> str:
    """Put fields back, only on that very object and only while they still hold what we wrote.

    Args:
        resource: as kubectl names it.
        name: of the object.
        namespace: of the object; empty for none.
        uid: its UID: another object of that name is not ours.
        ours: JSON pointer and value that we wrote; when one differs, somebody else has healed it, which is well.
        original: JSON patch operations that put it back.
    """
    tests = [{"op": "test", "path": "/metadata/uid", "value": uid}]
    tests += [{"op": "test", "path": path, "value": value} for path, value in ours]
    patch = shlex.quote(json.dumps([*tests, *original]))
    where = f" -n {namespace}" if namespace else ""
    # A failed `test` answers 422 Invalid; no such object, NotFound: both mean that nothing of ours is left.
    return (
        f"out=$(k patch {resource} {name}{where} --type=json -p {patch} 2>&1) || case $out in\n"
        '  *NotFound*|*"not found"*|*Invalid*|*"the server rejected our request"*) :;;\n'
        '  *) echo "$out" >&2; exit 1;;\nesac'
    )
