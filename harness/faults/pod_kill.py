"""Kill pods: by a graceful delete, by force, or by killing the container's process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults._model import Aim, Fault, FaultContext, Seen, Workload, register, require
from harness.faults._pods import container_ids, gone_or_terminating, pid_of, targets, victims
from harness.kube import Manifest

MODES = ("graceful", "force", "process")


@register
@dataclass(frozen=True, kw_only=True)
class PodKill(Fault):
    """Kill one pod of a workload, or all of them. The platform heals it: nothing is reverted.

    Proof: `graceful` and `force`: that very UID is gone or terminating; `process`: the container's process is gone from
    the node. Control: the workload's other pods keep their UIDs.

    Args:
        target: the workload.
        mode: `graceful` (as `kubectl delete`), `force` (no grace at all), `process` (SIGKILL to the container's first
            process; the pod stays, its container restarts).
        which: `one` (the oldest) or `all`.
    """

    name: ClassVar[str] = "pod.kill"
    needs: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[tuple[str, ...]] = ("delete pods",)
    one_shot: ClassVar[bool] = True

    target: Workload
    mode: str = "graceful"
    which: str = "one"

    def validate(self) -> None:
        """Check mode and number."""
        require(self.mode in MODES, "pod.kill: mode", self.mode, ", ".join(MODES))
        require(self.which in ("one", "all"), "pod.kill: which", self.which, "one, all")

    def resolve(self, ctx: FaultContext) -> Aim:
        """The victims by UID; for `process` their first processes by pid and start time."""
        found = victims(ctx, self.target, self.which)
        spared = {p["metadata"]["name"]: p["metadata"]["uid"] for p in self._others(ctx, found)}
        facts: dict[str, object] = {"spared": spared}
        if self.mode == "process":
            facts["processes"] = [
                (p["spec"]["nodeName"], *pid_of(ctx, p["spec"]["nodeName"], container_ids(p)[0])) for p in found
            ]
        how = {"graceful": "DELETE pod", "force": "DELETE pod, grace 0", "process": "SIGKILL on the node"}
        return Aim(targets(found), how[self.mode], facts)

    def _others(self, ctx: FaultContext, found: list[Manifest]) -> list[Manifest]:
        hit = {p["metadata"]["uid"] for p in found}
        pods = ctx.kube.list("Pod", self.target.namespace, labels=self.target.labels)
        return [p for p in pods if p["metadata"]["uid"] not in hit and not p["metadata"].get("deletionTimestamp")]

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Kill."""
        if self.mode == "process":
            for node, pid, start in aim.facts["processes"]:
                same = f'[ "$(cut -d" " -f22 /proc/{pid}/stat)" = {start} ] && kill -KILL {pid}'
                ctx.node(node).run(["sh", "-c", same])
            return
        for target in aim.targets:
            grace_s = 0 if self.mode == "force" else None
            ctx.kube.delete("Pod", target.name, target.namespace, uid=target.uid, grace_s=grace_s)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Are all victims gone, and are the others the same?"""
        live = {t.name: ctx.kube.get("Pod", t.name, t.namespace) for t in aim.targets}
        if self.mode == "process":
            dead = [self._process_gone(ctx, node, pid, start) for node, pid, start in aim.facts["processes"]]
        else:
            dead = [gone_or_terminating(live[t.name], t.uid) for t in aim.targets]
        spared = aim.facts["spared"]
        now = {p["metadata"]["name"]: p["metadata"]["uid"] for p in self._others(ctx, [])}
        untouched = all(now.get(name) == uid for name, uid in spared.items())
        evidence = {
            "killed": sum(dead),
            "of": len(dead),
            "uids": [t.uid for t in aim.targets],
            "others_untouched": untouched,
        }
        return Seen(all(dead) and untouched, evidence)

    @staticmethod
    def _process_gone(ctx: FaultContext, node: str, pid: int, start: str) -> bool:
        done = ctx.node(node).run(
            ["sh", "-c", f'[ "$(cut -d" " -f22 /proc/{pid}/stat 2>/dev/null)" != {start} ]'], check=False
        )
        return done.ok
