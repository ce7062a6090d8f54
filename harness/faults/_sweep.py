"""Sweep: find and undo what a killed run left, by identity: the journal, the dead-men on every node, our labels."""

from __future__ import annotations

from dataclasses import dataclass

from harness._errors import CommandFailed, FaultNotReverted, HarnessError, WaitTimeout
from harness._wait import Budget, wait_for
from harness.faults import _journal
from harness.faults._deadman import Place, deadmen, leftovers, place, undo_leftover
from harness.faults._model import HOST, LABEL, FaultContext

UNDO_TIMEOUT_S = 60.0
ANSWER_BUDGET = Budget(60, every_s=1)
LABELLED = (
    ("ValidatingAdmissionPolicyBinding", "admissionregistration.k8s.io/v1"),
    ("ValidatingAdmissionPolicy", "admissionregistration.k8s.io/v1"),
    ("NetworkPolicy", "crd.projectcalico.org/v1"),
    ("ConfigMap", "v1"),
    ("Pod", "v1"),
)


@dataclass(frozen=True)
class Swept:
    """One leftover that was undone: the fault's id, its name where it is known, the place, and how it was found."""

    id: str
    fault: str
    where: str
    found_by: str


def sweep(ctx: FaultContext) -> list[Swept]:
    """Undo every leftover at once; everything is tried, errors are raised together at the end.

    Faults whose runner lives on this machine are not leftovers. That no run of another machine is alive, the caller sees
    to: it holds the run's Lease.

    Raises:
        FaultNotReverted: something could not be undone; its dead-man goes on trying.
    """
    done: list[Swept] = []
    errors: list[Exception] = []
    living = set()
    for entry in _journal.entries(ctx.env):
        if _journal.owner_lives(entry):
            living.add(entry.id)
            continue
        # A node that is no longer in the cluster took what was on it with it (the cluster was made anew since).
        undos = tuple(u for u in entry.undos if u.where == HOST or u.where in {n.name for n in ctx.cluster.nodes})
        try:
            for deadman in reversed(deadmen(entry.id, undos, ctx.env, ctx.cluster)):
                result = deadman.undo_now(UNDO_TIMEOUT_S)
                if not result.ok:
                    raise FaultNotReverted(
                        f"{entry.fault} of an earlier run", where=deadman.place.name, last=result.err or result.out
                    )
                deadman.disarm()
            _journal.strike_out(ctx.env, entry.id)
            done.append(Swept(entry.id, entry.fault, ", ".join(u.where for u in entry.undos) or "-", "journal"))
        except HarnessError as err:
            errors.append(err)
    for where in places(ctx):
        try:
            for deadman_id in _leftovers(where, ctx):
                if deadman_id.rpartition("-")[0] in living:
                    continue
                undo_leftover(where, deadman_id, UNDO_TIMEOUT_S)
                done.append(Swept(deadman_id.rpartition("-")[0], "?", where.name, "dead-man"))
        except (CommandFailed, FaultNotReverted) as err:
            errors.append(err)
    done += _labelled(ctx, living)
    if errors:
        raise FaultNotReverted(
            "the sweep could not undo everything",
            last="; ".join(map(str, errors)),
            fix="harness sweep again; the dead-men go on trying",
        ) from ExceptionGroup("sweep", errors)
    return done


def _leftovers(where: Place, ctx: FaultContext) -> list[str]:
    """The dead-men at a place; a node that does not answer may be booting after a power-on, and is given a while."""

    def look() -> list[str] | CommandFailed:
        try:
            return leftovers(where)
        except CommandFailed as err:
            return err

    found: list[str] = []
    try:
        seen = wait_for(f"{where.name} answers", look, lambda s: isinstance(s, list), ANSWER_BUDGET, clock=ctx.clock)
        found = seen if isinstance(seen, list) else []
    except WaitTimeout as late:
        raise FaultNotReverted(
            "a node does not answer, so it cannot be swept", where=where.name, last=late.last
        ) from late
    return found


def places(ctx: FaultContext) -> list[Place]:
    """Everywhere a dead-man can be."""
    return [place(name, ctx.env, ctx.cluster) for name in (HOST, *(n.name for n in ctx.cluster.nodes))]


def _labelled(ctx: FaultContext, living: set[str]) -> list[Swept]:
    from kubernetes.dynamic.exceptions import ResourceNotFoundError

    done = []
    for kind, version in LABELLED:
        try:
            found = ctx.kube.list(kind, labels=LABEL, api_version=version)
        except ResourceNotFoundError:
            continue  # a cluster without Calico
        for live in found:
            meta = live["metadata"]
            if meta["labels"][LABEL] in living:
                continue
            ctx.kube.delete(kind, meta["name"], meta.get("namespace"), uid=meta["uid"], api_version=version)
            done.append(Swept(meta["labels"][LABEL], "?", f"{kind} {meta['name']}", "label"))
    return done
