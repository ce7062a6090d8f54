"""A policy that forbids everything to a workload: the classic mistake in a NetworkPolicy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _netns
from harness.faults._kubectl import kubectl_undo
from harness.faults._model import LABEL, Aim, Fault, FaultContext, Seen, Undo, Workload, register, require

KIND = "NetworkPolicy"
VERSION = "crd.projectcalico.org/v1"
RESOURCE = "networkpolicies.crd.projectcalico.org"


@register
@dataclass(frozen=True, kw_only=True)
class DenyAll(Fault):
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
    api: ClassVar[tuple[str, ...]] = ("create,patch,delete networkpolicies.networking.k8s.io",)

    target: Workload
    source: Workload
    port: int = 0

    def validate(self) -> None:
        """Check the port."""
        require(0 <= self.port <= 65535, f"{self.name}: port", self.port, "0 to 65535")

    def resolve(self, ctx: FaultContext) -> Aim:
        """Both sides' pods, their network namespaces and addresses."""
        facts = _netns.between(ctx, self.source, self.target, self.port)
        return Aim(_netns.hit_targets(ctx, self.target), "Calico NetworkPolicy, order 1, Deny", facts)

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

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """Does a connect get through?"""
        found = _netns.probe(ctx, aim.facts, count=2, each_s=0.7)
        evidence: dict[str, Any] = {"connects": found.tried, "answered": found.good}
        if found.good:
            return Seen(False, evidence)
        evidence |= {"control": _netns.control_name(aim.facts), "control_good": _netns.control_good(ctx, aim.facts)}
        return Seen(evidence["control_good"], evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Policies of ours."""
        found = ctx.kube.list(KIND, self.target.namespace, labels=LABEL, api_version=VERSION)
        return [f"{KIND} {p['metadata']['name']}" for p in found]
