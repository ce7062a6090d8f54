"""The drill: every fault is injected for real, and its runner is killed at every step of its life.

    python -m harness.faults.drill [NAME ...] [--all] [--write docs/reference/drill.md]

For each fault: the detector is quiet before, sees it, and is quiet after the revert, with no residue. Then, once for each
step, a process of its own injects it and kills itself there with SIGKILL; nobody helps; the cluster must be clean within
one lease and the fault's own time to clear.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import multiprocessing
import os
import pickle
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from harness._clock import CLOCK
from harness._errors import HarnessError, WaitTimeout
from harness._wait import Budget, wait_for
from harness.boutique.deploy import Boutique, Release, app_state, deploy
from harness.env import current_env
from harness.faults import FaultContext, Object, Workload, _journal, catalogue
from harness.faults._context import PLATFORM, platform_context
from harness.faults._deadman import leftovers, place
from harness.faults._lifecycle import ActiveFault, State, injected
from harness.faults._model import Aim, Fault
from harness.kube import Kube
from harness.stack.base import workloads_ready

NAMESPACE = os.environ.get("HARNESS_DRILL_NAMESPACE", "boutique-drill")  # several drills can run side by side
SHOP = "drill-shop"  # the Boutique for faults that need one
LEASE_S = 6.0
STEPS = ("noted", "armed", "injected", "holding", "reverting", "reverted")
READY = Budget(180, every_s=0.5)
STEADY = Budget(180, every_s=0.5, streak=3)  # a controller may not have noticed yet that a pod is gone
PRELOAD = ["kubernetes.dynamic", "harness.boutique.deploy", "harness.faults._context", "harness.faults._lifecycle"]
IMAGES = "us-central1-docker.pkg.dev/google-samples/microservices-demo"
CALLEE, CALLER = Workload(NAMESPACE, "callee"), Workload(NAMESPACE, "caller")

# What each fault is aimed at; a fault that is not here is aimed at by its own defaults, or not drilled.
SPECS: dict[str, Callable[[FaultContext], dict[str, Any]]] = {
    "gitops.bad-commit": lambda ctx: {"boutique": _boutique(ctx).name},
    "gitops.drift-delete": lambda ctx: {"target": Object("Service", NAMESPACE, "callee")},
    "gitops.drift-field": lambda ctx: {
        "target": Object("Service", NAMESPACE, "callee"),
        "pointer": "/spec/ports/0/port",
        "value": 81,
    },
    "gitops.drift-scale": lambda ctx: {"target": CALLEE},
    "gitops.foreign-object": lambda ctx: {"namespace": NAMESPACE},
    "network.bandwidth": lambda ctx: _edge(),
    "network.deny-all": lambda ctx: _edge(),
    "network.dns-failure": lambda ctx: {"target": CALLEE},
    "network.latency": lambda ctx: _edge(),
    "network.loss": lambda ctx: _edge(),
    "network.partition": lambda ctx: _edge(),
    "network.reset": lambda ctx: _edge(),
    "pod.cpu-starve": lambda ctx: {"target": CALLEE},
    "pod.image-unpullable": lambda ctx: {"target": CALLEE},
    "pod.kept-down": lambda ctx: {"target": CALLEE},
    "pod.kill": lambda ctx: {"target": CALLEE},
    "pod.memory-hog": lambda ctx: {"target": CALLEE},
    "pod.pause": lambda ctx: {"target": CALLEE},
    "pod.readiness-broken": lambda ctx: _edge(),
}


# These break what others on the cluster use, so they are drilled only when asked for.
SHARED = ("gitops.bad-commit",)


def _edge() -> dict[str, Any]:
    return {"target": CALLEE, "source": CALLER}


def _boutique(ctx: FaultContext) -> Boutique:
    """A Boutique that Argo CD keeps as Git says; deployed when it is not there."""
    shop = Boutique(ctx.env, SHOP)
    if app_state(shop, ctx.kube)["sync"] != "Synced" or workloads_ready(ctx.kube, shop.namespace):
        deploy(shop, ctx.kube, Release(), "The release that the drill starts from")
    return shop


@dataclass
class Row:
    """What the drill found of one fault."""

    fault: str
    mechanism: str = ""
    quiet: bool = False
    proven: bool = False
    reverted: bool = False
    residue: int = -1
    prove_s: float = 0.0
    revert_s: float = 0.0
    healed_s: dict[str, float] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything held."""
        return self.quiet and self.proven and self.reverted and self.residue == 0 and not self.trouble


def build(name: str, ctx: FaultContext) -> Fault:
    """The fault of that name, aimed at the drill's own namespace, or at a worker."""
    kind = catalogue()[name]
    fields = set(kind.__dataclass_fields__)
    values = SPECS[name](ctx) if name in SPECS else {}
    if "node" in fields and "node" not in values:
        values["node"] = ctx.cluster.workers[-1].name
    return kind(**{k: v for k, v in values.items() if k in fields})


def context() -> FaultContext:
    """The context of the drill on the environment that is up."""
    from harness.provision import attach

    found = platform_context(attach(current_env()), run_id="drill", lease_s=LEASE_S)
    allowed = replace(found.allowed, namespaces=found.allowed.namespaces | {NAMESPACE, f"boutique-{SHOP}"})
    return replace(found, allowed=allowed)


def shop(kube: Kube) -> None:
    """A namespace with a caller, a callee of two pods and a bystander; returns when they are ready."""
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for name, image, port, replicas in (
        ("caller", "shippingservice", 50051, 1),
        ("callee", "adservice", 9555, 2),
        ("bystander", "currencyservice", 7000, 1),
    ):
        container = {
            "name": "server",
            "image": f"{IMAGES}/{image}:v0.10.4",
            "env": [{"name": "PORT", "value": str(port)}],
            "ports": [{"containerPort": port}],
            "readinessProbe": {"grpc": {"port": port}, "periodSeconds": 2},
            "resources": {
                "requests": {"cpu": "5m", "memory": "16Mi"},
                "limits": {"cpu": "200m", "memory": "64Mi"},
            },
        }
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]},
        }
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
        meta = {"name": name, "namespace": NAMESPACE}
        kube.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})
        ports = {"selector": {"app": name}, "ports": [{"port": port, "targetPort": port}]}
        kube.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": ports})
    settle(kube)


def kubelets(ctx: FaultContext) -> None:
    """Wait until every node's kubelet answers: one that was rebooted counts as Ready for a while without it."""
    ask = ["curl", "-fsS", "-m", "1", "-o", "/dev/null", "http://127.0.0.1:10248/healthz"]

    def silent() -> list[str]:
        try:
            return [n.name for n in ctx.cluster.nodes if not n.run(ask, check=False).ok]
        except HarnessError as err:
            return [str(err)]

    wait_for("all kubelets answer", silent, lambda names: not names, READY)


def settle(kube: Kube) -> None:
    """Wait until the drill's pods and the platform's are all ready again, and no more than they should be."""

    def missing() -> str:
        try:
            return look()
        except (ApiException, HTTPError, OSError) as err:
            return f"the API does not answer: {type(err).__name__}"

    def look() -> str:
        found = []
        for space in (NAMESPACE, *(p for p in PLATFORM if p != "platform-server")):
            going = [p for p in kube.list("Pod", space) if p["metadata"].get("deletionTimestamp")]
            found += [workloads_ready(kube, space), f"{len(going)} pods of {space} going" if going else ""]
        return ", ".join(f for f in found if f)

    wait_for("the drill's and the platform's pods ready", missing, lambda text: text == "", STEADY)


def live_once(name: str, ctx: FaultContext) -> Row:
    """Quiet, proven, held for a second, reverted, no residue."""
    row = Row(name)
    fault = build(name, ctx)
    start_s = CLOCK.monotonic()
    try:
        with injected(fault, ctx) as active:
            row.quiet = row.proven = True
            row.mechanism = active.aim.mechanism
            row.prove_s = round(CLOCK.monotonic() - start_s, 2)
            CLOCK.sleep(1)
            held_s = CLOCK.monotonic()
        row.revert_s = round(CLOCK.monotonic() - held_s, 2)
        row.reverted, row.residue = True, 0
    except (HarnessError, ExceptionGroup) as err:
        row.trouble.append(f"life: {err}")
    return row


def die_at(name: str, step: str, aim_file: str, lease_s: float = LEASE_S) -> None:
    """In a process of its own: inject a fault and kill this process with SIGKILL at a step."""
    ctx = replace(context(), history=_Tripwire(step), lease_s=lease_s)  # type: ignore[arg-type]
    note, to = ActiveFault.note, ActiveFault._to

    def noting(self: ActiveFault) -> None:
        kept = (self.fault.name, self.aim, dict(self._before))
        Path(aim_file).write_bytes(base64.b64encode(pickle.dumps(kept)))
        note(self)
        if step == "noted":
            _die()

    def moving(self: ActiveFault, state: State) -> None:
        to(self, state)
        if step == state.value == "reverting":
            _die()

    ActiveFault.note, ActiveFault._to = noting, moving  # type: ignore[method-assign]
    with injected(build(name, ctx), ctx):
        if step == "holding":
            CLOCK.sleep(0.5)
            _die()


class _Tripwire:
    """Stands where the history is; its process dies at the mark of a step."""

    def __init__(self, step: str) -> None:
        self._step = step

    def now_s(self) -> float:
        return 0.0

    def at_wall(self, wall_s: float) -> float:
        return 0.0

    def mark(self, source: str, event: str, **_: Any) -> None:
        if source == "fault" and event == self._step:
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def killed(name: str, step: str, ctx: FaultContext) -> tuple[float, str]:
    """Kill the runner of a fault at a step; how many seconds until the cluster was clean by itself, and what was wrong."""
    aim_file = ctx.env.state_dir / f"drill-{name}-{step}.aim"
    aim_file.unlink(missing_ok=True)
    runner = multiprocessing.get_context("forkserver").Process(target=die_at, args=(name, step, str(aim_file)))
    runner.start()
    runner.join(180)
    died_s = CLOCK.monotonic()
    if runner.exitcode != -signal.SIGKILL or not aim_file.exists():
        runner.kill()
        return -1.0, f"{step}: the runner ended with {runner.exitcode} instead of being killed there"
    _, aim, before = pickle.loads(base64.b64decode(aim_file.read_bytes()))  # noqa: S301 - our own file of this moment
    aim_file.unlink()
    fault = build(name, ctx)
    _journal.strike_out(ctx.env, aim.id)  # so that no sweep of a neighbour helps: it must heal by itself
    try:
        wait_for(
            f"{name} healed after SIGKILL at {step}",
            lambda: dirt(fault, ctx, aim, before),
            lambda left: not left,
            Budget(LEASE_S + fault.clear.total_s, every_s=0.3),
        )
    except WaitTimeout as late:
        return -1.0, f"{step}: {late}"
    return round(CLOCK.monotonic() - died_s, 1), ""


def dirt(fault: Fault, ctx: FaultContext, aim: Aim, before: dict[str, int]) -> list[str]:
    """What is still there of a fault: its effect, its traces, its dead-men."""
    left: list[str] = []
    try:
        for where in dict.fromkeys(u.where for u in fault.undo(ctx, aim)):
            left += [d for d in leftovers(place(where, ctx.env, ctx.cluster)) if d.startswith(aim.id)]
        if left:
            return left
        if not fault.one_shot and fault.observe(ctx, aim).active:
            left.append("still active")
        after = Counter(fault.traces(ctx, aim))
        left += [f"+ {line}" for line in (after - Counter(before)).elements()]
        left += [f"- {line}" for line in (Counter(before) - after).elements()]
    except (HarnessError, OSError) as err:
        left.append(str(err))
    return left


@contextlib.contextmanager
def _forkserver() -> Iterator[None]:
    # Children start from a process that has everything imported: the drill measures healing, not importing.
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    yield


def drill(name: str, ctx: FaultContext, steps: tuple[str, ...] = STEPS) -> Row:
    """The whole drill of one fault."""
    kubelets(ctx)
    row = live_once(name, ctx)
    settle(ctx.kube)
    for step in steps:
        seconds, trouble = killed(name, step, ctx)
        row.healed_s[step] = seconds
        if trouble:
            row.trouble.append(trouble)
        kubelets(ctx)
        settle(ctx.kube)
    return row


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    head = ["fault", "mechanism", "quiet control", "proven in s", "reverted in s", "residue", *STEPS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        healed = [
            ("healed " + f"{row.healed_s[s]:g}" if row.healed_s[s] >= 0 else "**no**") if s in row.healed_s else "–"
            for s in STEPS
        ]
        cells = [
            f"`{row.fault}`",
            row.mechanism,
            "yes" if row.quiet else "**no**",
            f"{row.prove_s:g}" if row.proven else "**no**",
            f"{row.revert_s:g}" if row.reverted else "**no**",
            str(row.residue) if row.residue >= 0 else "**?**",
            *healed,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def document(rows: list[Row]) -> str:
    """The page that holds the table of a real run."""
    overhead = sorted(r.prove_s + r.revert_s for r in rows if r.reverted)
    median = overhead[len(overhead) // 2] if overhead else 0.0
    clean = sum(r.good for r in rows)
    wrong = "\n".join(f"- `{r.fault}`: {t}" for r in rows for t in r.trouble)
    return (
        "# The drill: every fault, its runner killed at every step\n\n"
        "Written by `python -m harness.faults.drill --write` from real runs; each row is the last drill of its fault. Each of\n"
        "the last columns is a run of its own in which the runner was killed with SIGKILL at that step (`noted`: before\n"
        "arming); the number is how many seconds later the cluster was clean by itself (effect, traces and dead-men gone),\n"
        f"with a lease of {LEASE_S:g} s. A dash means that this step was not run.\n\n"
        f"{table(rows)}\n\n{clean} of {len(rows)} faults without any trouble; injection, proof and verified revert together "
        f"took {median:.1f} s (median).\n" + (f"\nTrouble:\n\n{wrong}\n" if wrong else "")
    )


def keep(rows: list[Row], page: Path) -> list[Row]:
    """Write the page and its data; rows of earlier runs that are not replaced stay. Several drills may write at a time."""
    data = page.with_suffix(".json")
    with FileLock(page.with_name(f".{page.stem}.lock")):
        known = {r["fault"]: Row(**r) for r in json.loads(data.read_text())} if data.exists() else {}
        known |= {r.fault: r for r in rows}
        every = [known[name] for name in sorted(known) if name in catalogue()]
        data.write_text(json.dumps([asdict(r) for r in every], indent=1) + "\n")
        page.write_text(document(every))
    return every


def main() -> int:
    """Run the drill from the command line; 0 when everything held."""
    parser = argparse.ArgumentParser(prog="python -m harness.faults.drill")
    parser.add_argument("names", nargs="*", help="faults; by default those that disturb nobody else on the cluster")
    parser.add_argument("--all", action="store_true", help="the whole catalogue, nodes and platform, too")
    parser.add_argument("--missing", action="store_true", help="only those that the written page does not have as good")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--write", type=Path, help="Markdown page for the table; its data is kept beside it as JSON")
    options = parser.parse_args()
    names = options.names or [n for n in catalogue() if options.all or (n in SPECS and n not in SHARED)]
    if options.missing and options.write and options.write.with_suffix(".json").exists():
        good = {r["fault"] for r in json.loads(options.write.with_suffix(".json").read_text()) if Row(**r).good}
        names = [n for n in names if n not in good]
    ctx = context()
    shop(ctx.kube)
    rows: list[Row] = []
    with _forkserver():
        for name in names:
            rows.append(drill(name, ctx, tuple(s for s in options.steps.split(",") if s)))
            sys.stdout.write(f"{'ok  ' if rows[-1].good else 'FAIL'} {json.dumps(asdict(rows[-1]))}\n")
            sys.stdout.flush()
            if options.write:
                keep(rows[-1:], options.write)
    return 0 if all(r.good for r in rows) else 1


if __name__ == "__main__":
    # Under its real name, so that what is pickled here can be read by the processes that it starts.
    from harness.faults import drill as module

    sys.exit(module.main())
