"""A policy that forbids everything to a workload: the classic mistake in a NetworkPolicy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.faults import _netns
from harness.faults._kubectl import kubectl_undo
from harness.faults._model import LABEL, Aim, FaultContext, Undo, register
from harness.faults._paths import PathFault

KIND = "NetworkPolicy"
VERSION = "crd.projectcalico.org/v1"
RESOURCE = "networkpolicies.crd.projectcalico.org"


@register
@dataclass(frozen=True, kw_only=True)
class DenyAll(PathFault):
    """Deny all traffic from and to the target's pods, by a Calico policy that comes before all others.

    A NetworkPolicy of Kubernetes can only allow more, so where other policies allow a path it could not take it away. Open
    connections are forgotten on the nodes, so that they are judged anew.
    Proof: connects from a pod of `source` get no answer. Control: the same pod still reaches another workload.

    Args:
        target: whose pods are cut off.
        source: from whose pod the proof connects.
        port: where to; the target's first declared port when 0.
    """

    name: ClassVar[str] = "network.deny-all"
    api: ClassVar[tuple[str, ...]] = ("create,patch,delete networkpolicies.crd.projectcalico.org",)

    def resolve(self, ctx: FaultContext) -> Aim:
        """Both sides' pods, their network namespaces and addresses."""
        return self.aim(ctx, "Calico NetworkPolicy, order 1, Deny")

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Delete the policy."""
        line = f"k delete {RESOURCE} -n {self.target.namespace} -l {LABEL}={aim.id} --ignore-not-found"
        return (kubectl_undo(ctx, line),)

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Apply the policy, and forget open connections."""
        selector = " && ".join(f"{k} == '{v}'" for k, v in self.target.selector.items())
        meta = {"name": f"default.{aim.mark}", "namespace": self.target.namespace, "labels": {LABEL: aim.id}}
        deny = [{"action": "Deny"}]
        spec = {"order": 1, "selector": selector, "types": ["Ingress", "Egress"], "ingress": deny, "egress": deny}
        ctx.kube.apply({"apiVersion": VERSION, "kind": KIND, "metadata": meta, "spec": spec})
        for end in aim.facts["ends"]:
            _netns.forget_connections(ctx, end, [end["ip"]])

    def missed(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """None: the policy goes by labels."""
        return []

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Policies of ours."""
        found = ctx.kube.list(KIND, self.target.namespace, labels=LABEL, api_version=VERSION)
        return [f"{KIND} {p['metadata']['name']}" for p in found]
