"""Keep a workload down: its pods are killed, and the API admits no new ones."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import HarnessError
from harness._wait import Budget, wait_for
from harness.faults._kubectl import kubectl_undo
from harness.faults._model import LABEL, Aim, Fault, FaultContext, Seen, Undo, Workload, register
from harness.faults._pods import API_OF, pods, targets, victims
from harness.kube import Manifest
from harness.targets import resolve

ADMISSION = "admissionregistration.k8s.io/v1"
POLICY = "ValidatingAdmissionPolicy"
BINDING = "ValidatingAdmissionPolicyBinding"
REFUSED_BUDGET = Budget(30, every_s=0.1)


@register
@dataclass(frozen=True, kw_only=True)
class KeptDown(Fault):
    """Keep a workload without any pod for as long as the fault is held.

    An admission policy refuses new pods of that selector in that namespace, then the pods there are go. The workload
    itself stays as Git has it, so Argo CD has nothing to heal, and cannot.
    Proof: no pod of the workload is there and its status says 0 available. Control: the policy admits pods of another
    selector in the same namespace (asked by a dry run).

    Args:
        target: the workload.
        graceful: let its pods stop in their own time rather than at once.
    """

    name: ClassVar[str] = "pod.kept-down"
    needs: ClassVar[tuple[str, ...]] = ()
    api: ClassVar[tuple[str, ...]] = (
        "create,delete pods",
        "patch replicasets.apps",
        "create,patch,delete validatingadmissionpolicies.admissionregistration.k8s.io",
        "create,patch,delete validatingadmissionpolicybindings.admissionregistration.k8s.io",
    )

    target: Workload
    graceful: bool = False

    def resolve(self, ctx: FaultContext) -> Aim:
        """The workload and its pods, by UID."""
        found = victims(ctx, self.target, "all")
        owner = resolve(ctx.kube, self.target.kind, self.target.name, self.target.namespace)
        return Aim((owner, *targets(found)), "ValidatingAdmissionPolicy + DELETE pods", {"pods": len(found)})

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove the policy; wait until pods are admitted again; nudge the controllers, which back off after refusals."""
        space, probe = self.target.namespace, shlex.quote(json.dumps(self._probe(aim, self.target.selector)))
        nudge = LABEL.replace("/fault", "/nudge")
        return (
            kubectl_undo(
                ctx,
                f"k delete validatingadmissionpolicybinding,validatingadmissionpolicy -l {LABEL}={aim.id} --ignore-not-found",
                f"k get namespace {space} >/dev/null 2>&1 || exit 0",
                f"i=0; until echo {probe} | k create --dry-run=server -f - >/dev/null 2>&1; do",
                "  i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done",
                # ReplicaSets retry refused pods ever more rarely (minutes); an update makes them look at once.
                f"for rs in $(k get rs -n {space} -l {self.target.labels} -o name); do",
                f"  k annotate -n {space} --overwrite $rs {nudge}={aim.id} >/dev/null 2>&1 || continue",
                f"  k annotate -n {space} $rs {nudge}- >/dev/null 2>&1 || :; done",
            ),
        )

    @staticmethod
    def _probe(aim: Aim, labels: dict[str, str]) -> Manifest:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{aim.mark}-dry-run", "namespace": aim.targets[0].namespace, "labels": labels},
            "spec": {"containers": [{"name": "x", "image": "none.invalid/none"}]},
        }

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Refuse new pods; when that is seen to work, remove those there are."""
        for manifest in self._policy(aim):
            ctx.kube.apply(manifest)
        wait_for(
            "new pods refused",
            lambda: self._admits(ctx, aim, self.target.selector),
            lambda admitted: not admitted,
            REFUSED_BUDGET,
            fix="does the API server serve ValidatingAdmissionPolicy (Kubernetes 1.30)?",
            clock=ctx.clock,
        )
        for pod in pods(ctx, self.target):
            meta = pod["metadata"]
            grace_s = None if self.graceful else 0
            ctx.kube.delete("Pod", meta["name"], meta["namespace"], uid=meta["uid"], grace_s=grace_s)

    def _policy(self, aim: Aim) -> list[Manifest]:
        meta = {"name": f"{aim.mark}-kept-down", "labels": {LABEL: aim.id}}
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        match = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.target.namespace}},
            "objectSelector": {"matchLabels": self.target.selector},
        }
        spec: dict[str, Any] = {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule], **match},
            "validations": [{"expression": "false", "message": f"kept down by fault {aim.id}"}],
        }
        binding = {"policyName": meta["name"], "validationActions": ["Deny"]}
        return [
            {"apiVersion": ADMISSION, "kind": POLICY, "metadata": meta, "spec": spec},
            {"apiVersion": ADMISSION, "kind": BINDING, "metadata": meta, "spec": binding},
        ]

    def _admits(self, ctx: FaultContext, aim: Aim, labels: dict[str, str]) -> bool:
        try:
            ctx.kube.resource("Pod").create(
                body=self._probe(aim, labels), namespace=self.target.namespace, dry_run="All", _request_timeout=5
            )
        except Exception as err:
            if "kept down by fault" in str(getattr(err, "body", "")):
                return False
            raise HarnessError(
                "a dry run of a pod was refused for another reason", last=str(getattr(err, "body", err))[:300]
            ) from err
        return True

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """No pod of it is there, the controller says so too, and other pods are still admitted."""
        there = [p["metadata"]["name"] for p in pods(ctx, self.target)]
        live = ctx.kube.get(self.target.kind, self.target.name, self.target.namespace, API_OF[self.target.kind]) or {}
        status = live.get("status") or {}
        available = status.get("numberAvailable" if self.target.kind == "DaemonSet" else "availableReplicas") or 0
        evidence: dict[str, Any] = {"pods": len(there), "available": available}
        down = not there and available == 0
        if down:
            evidence["control_admitted"] = self._admits(ctx, aim, {"app": f"{aim.mark}-control"})
        return Seen(down and evidence["control_admitted"], evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Our policies."""
        found = [o for kind in (POLICY, BINDING) for o in ctx.kube.list(kind, api_version=ADMISSION, labels=LABEL)]
        return [f"{o['kind']} {o['metadata']['name']}" for o in found if o["metadata"]["labels"][LABEL] in ("", aim.id)]
