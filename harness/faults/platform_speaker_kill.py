"""The MetalLB speaker that announces the shop's address is killed: another must take over, or it comes back."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness._errors import TargetError, WaitTimeout
from harness._wait import Budget, wait_for
from harness.faults._model import Aim, FaultContext, Workload, register
from harness.faults._pods import targets
from harness.faults.pod_kill import PodKill
from harness.targets import running_pods

TARGET = Workload(
    "metallb-system",
    "speaker",
    "DaemonSet",
    "app=metallb,component=speaker",
)

LEADER = Budget(15, every_s=0.3)


@register
@dataclass(frozen=True, kw_only=True)
class SpeakerKill(PodKill):
    """Kill the speaker pod on the node that announces a Service's address; see pod.kill for the proof.

    Args:
        target: the speakers.
        service_namespace: of the Service whose leader is meant.
        service: the Service.
    """

    name: ClassVar[str] = "platform.speaker-kill"

    target: Workload = TARGET
    mode: str = "force"
    service_namespace: str = "ingress-nginx"
    service: str = "ingress-nginx-controller"

    def resolve(self, ctx: FaultContext) -> Aim:
        """The speaker on the node that announces now, by UID."""
        aim = super().resolve(ctx)
        leader = self._leader(ctx)
        found = running_pods(ctx.kube, self.target.namespace, self.target.labels)
        mine = [p for p in found if p["spec"].get("nodeName") == leader]
        if not mine:
            raise TargetError("no speaker runs on the node that announces", where=leader)
        spared = {p["metadata"]["name"]: p["metadata"]["uid"] for p in found if p is not mine[0]}
        return replace(aim, targets=targets(mine), facts={**aim.facts, "spared": spared, "announced_by": leader})

    def _leader(self, ctx: FaultContext) -> str:
        def look() -> str:
            for status in ctx.kube.list("ServiceL2Status", self.target.namespace, api_version="metallb.io/v1beta1"):
                seen: dict[str, Any] = status.get("status") or {}
                if (seen.get("serviceNamespace"), seen.get("serviceName")) == (self.service_namespace, self.service):
                    return str(seen["node"])
            return self._told(ctx)

        where = f"{self.service_namespace}/{self.service}"
        try:
            # After a failover it takes a moment until the new leader says so.
            return wait_for(f"a node that announces {where}", look, bool, LEADER, clock=ctx.clock)
        except WaitTimeout as late:
            raise TargetError("MetalLB says of no node that it announces the Service", where=where) from late

    def _told(self, ctx: FaultContext) -> str:
        """The last event of the Service that names its node: MetalLB 0.15 loses its status object in a failover."""
        told = [
            (e.get("lastTimestamp") or e.get("eventTime") or "", int(e["metadata"]["resourceVersion"]), e["message"])
            for e in ctx.kube.list("Event", self.service_namespace)
            if e.get("reason") == "nodeAssigned" and e["involvedObject"]["name"] == self.service
        ]
        found = re.search(r'from node "([^"]+)"', max(told)[2]) if told else None
        return found[1] if found else ""
