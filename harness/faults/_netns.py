"""What the network faults share: rules in a pod's network namespace, and connects from one pod to another as the proof.

Pods may hold nothing but one program, so nothing is run in them: the node enters their network namespaces by name (which
is unique, and gone with the pod), sets rules that carry the fault's id as their comment, and opens TCP connections there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from harness._errors import TargetError
from harness.faults._model import Aim, FaultContext, Undo, Workload
from harness.faults._pods import TASK_DIR, container_ids, control_pod, is_ready, pods, victims
from harness.kube import Manifest
from harness.targets import pod_target

# Opens $3 connections at once to port $2 of each address in $1, each given $4 seconds; says how each went, in milliseconds.
_CONNECTS = r"""
one() {
  local s=${EPOCHREALTIME/./}
  if timeout "$4" bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null; then
    local e=${EPOCHREALTIME/./}; echo "ok $(( (e - s) / 1000 ))"
  else
    local e=${EPOCHREALTIME/./}; echo "no $(( (e - s) / 1000 ))"
  fi
}
for ip in $1; do for i in $(seq "$3"); do one "$ip" "$2" "$3" "$4" & done; done; wait
"""


@dataclass(frozen=True)
class Connects:
    """What a burst of TCP connects gave: how many, how many were good, and how long they took."""

    tried: int
    good: int
    good_ms: tuple[int, ...]
    bad_ms: tuple[int, ...]

    @property
    def lost(self) -> float:
        """The part that failed, 0 to 1."""
        return 1 - self.good / self.tried

    @property
    def median_ms(self) -> int:
        """The median time of the good ones; -1 when there is none."""
        return sorted(self.good_ms)[len(self.good_ms) // 2] if self.good_ms else -1


def connects(
    ctx: FaultContext, node: str, netns: str, ip: str, port: int, *, count: int = 3, each_s: float = 1.0
) -> Connects:
    """Open `count` connections to each address of `ip` at once from a network namespace (the node's when it is empty)."""
    inside = ["ip", "netns", "exec", netns] if netns else []
    args = [*inside, "bash", "-s", ip, str(port), str(count), f"{each_s:g}"]
    out = ctx.node(node).run(args, stdin=_CONNECTS, timeout_s=each_s * 2 + 15).out
    return parse_connects(out)


def merged(bursts: Sequence[Connects]) -> Connects:
    """Several bursts as one."""
    return Connects(
        sum(b.tried for b in bursts),
        sum(b.good for b in bursts),
        tuple(ms for b in bursts for ms in b.good_ms),
        tuple(ms for b in bursts for ms in b.bad_ms),
    )


def parse_connects(text: str) -> Connects:
    """Read what the script printed; raises `TargetError` when it printed nothing (a blind probe is no proof)."""
    found = re.findall(r"^(ok|no) (\d+)$", text, re.MULTILINE)
    if not found:
        raise TargetError("the probe between the pods gave no result", last=text[-200:])
    good = tuple(int(ms) for word, ms in found if word == "ok")
    bad = tuple(int(ms) for word, ms in found if word == "no")
    return Connects(len(found), len(good), good, bad)


def between(ctx: FaultContext, source: Workload, target: Workload, port: int) -> dict[str, Any]:
    """Resolve both sides of a path once, and a control path from the same source to another workload's port.

    Returns plain data for `Aim.facts`: `source` and `ends` (node, netns, ip, pod), `peers` (all addresses of the source).
    """
    hit = victims(ctx, target, "all")
    callers = victims(ctx, source, "all")
    caller = next((p for p in callers if is_ready(p)), callers[0])
    all_ends = ends(ctx, [caller, *hit])
    facts: dict[str, Any] = {
        "source": all_ends[0],
        "ends": all_ends[1:],
        "peers": [p["status"]["podIP"] for p in callers],
        "port": port or first_port(hit[0]),
        "control": None,
    }
    facts["control"] = _control(ctx, target, facts)
    return facts


def visit(ctx: FaultContext, scripts: Mapping[str, str], *, check: bool = True) -> str:
    """Run a script on each of several nodes at once; return what they printed, node by node."""
    if len(scripts) < 2:
        return "".join(ctx.node(node).run(["sh"], stdin=script, check=check).out for node, script in scripts.items())
    with ThreadPoolExecutor(len(scripts), thread_name_prefix="visit") as pool:
        done = pool.map(lambda one: ctx.node(one[0]).run(["sh"], stdin=one[1], check=check).out, scripts.items())
        return "".join(done)


def ends(ctx: FaultContext, found: Sequence[Manifest]) -> list[dict[str, str]]:
    """One side of a path: where its pods run, their network namespaces, their addresses. One visit to each node."""
    scripts: dict[str, str] = {}
    for pod in found:
        node, i = pod["spec"]["nodeName"], container_ids(pod)[0]
        line = f'echo "{i} $(ip netns identify "$(cat {TASK_DIR}/{i}/init.pid)")"\n'
        scripts[node] = scripts.get(node, "") + line
    shown = visit(ctx, scripts, check=False)
    names = dict(words for line in shown.splitlines() if len(words := line.split()) == 2)
    for pod in found:
        if pod["spec"].get("hostNetwork") or container_ids(pod)[0] not in names:
            where = f"{pod['spec']['nodeName']}/{pod['metadata']['name']}"
            raise TargetError("the pod has no network namespace of its own", where=where)
    return [
        {
            "pod": p["metadata"]["name"],
            "node": p["spec"]["nodeName"],
            "netns": names[container_ids(p)[0]],
            "ip": p["status"]["podIP"],
        }
        for p in found
    ]


def first_port(pod: Manifest) -> int:
    """The first TCP port that a pod declares; raises `TargetError` when there is none."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or []:
            if port.get("protocol", "TCP") == "TCP":
                return int(port["containerPort"])
    raise TargetError("the pod declares no TCP port", where=pod["metadata"]["name"], fix="give the fault a port")


def _control(ctx: FaultContext, target: Workload, facts: dict[str, Any]) -> dict[str, Any] | None:
    """A path from the same source that the fault must leave alone, if the policies leave one open."""
    source = facts["source"]
    hit = set(target.selector.items())
    for pod in ctx.kube.list("Pod", target.namespace):
        labels = set((pod["metadata"].get("labels") or {}).items())
        if hit <= labels or not is_ready(pod) or pod["status"].get("podIP") in (*facts["peers"], None):
            continue
        try:
            port = first_port(pod)
        except TargetError:
            continue
        ip = pod["status"]["podIP"]
        if connects(ctx, source["node"], source["netns"], ip, port, count=1, each_s=1.5).good:
            return {"pod": pod["metadata"]["name"], "ip": ip, "port": port}
    return None


def probe(ctx: FaultContext, facts: dict[str, Any], *, count: int = 3, each_s: float = 1.0) -> Connects:
    """Connects from the source to all the targets, as one result."""
    source, ends = facts["source"], facts["ends"]
    each = max(1, count // len(ends))
    ips = " ".join(e["ip"] for e in ends)
    return connects(ctx, source["node"], source["netns"], ips, facts["port"], count=each, each_s=each_s)


def probe_control(ctx: FaultContext, facts: dict[str, Any], *, count: int = 2, each_s: float = 2.0) -> Connects | None:
    """Connects from the source to the control; None when there is no control."""
    control, source = facts["control"], facts["source"]
    if control is None:
        return None
    return connects(ctx, source["node"], source["netns"], control["ip"], control["port"], count=count, each_s=each_s)


def still_there(ctx: FaultContext, hit: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Those whose pod has not gone since: silence of a pod that is no more proves nothing."""
    scripts: dict[str, str] = {}
    for e in hit:
        scripts[e["node"]] = scripts.get(e["node"], "") + f"[ -e /run/netns/{e['netns']} ] || echo gone {e['netns']}\n"
    gone = {line.removeprefix("gone ") for line in visit(ctx, scripts).splitlines() if line.startswith("gone ")}
    return [e for e in hit if e["netns"] not in gone]


def control_good(ctx: FaultContext, facts: dict[str, Any]) -> bool:
    """Whether the control path is as it was; true when there is none (the evidence says so)."""
    found = probe_control(ctx, facts)
    return found is None or found.lost == 0


def there_and_control(ctx: FaultContext, facts: dict[str, Any]) -> tuple[bool, bool]:
    """Whether any target is still there, and whether the control path is good; asked at the same time."""
    with ThreadPoolExecutor(2, thread_name_prefix="control") as pool:
        there = pool.submit(still_there, ctx, facts["ends"])
        good = pool.submit(control_good, ctx, facts)
    return bool(there.result()), good.result()


def control_name(facts: dict[str, Any]) -> str:
    """How the evidence names the control path."""
    return facts["control"]["pod"] if facts["control"] else "none"


def run_rules(ctx: FaultContext, end: dict[str, str], rules: Sequence[str]) -> None:
    """Add iptables rules in a pod's network namespace; the text is what follows `iptables -w 5`."""
    lines = "\n".join(f"ip netns exec {end['netns']} iptables -w 5 {rule}" for rule in rules)
    ctx.node(end["node"]).run(["sh"], stdin=f"set -e\n{lines}\n")


def forget_connections(ctx: FaultContext, end: dict[str, str], peers: Sequence[str]) -> None:
    """Drop the node's memory of connections with the peers, so that long-lived ones are judged by new policies too."""
    lines = [f"conntrack -D {flag} {ip} >/dev/null 2>&1 || :" for ip in peers for flag in ("-s", "-d")]
    ctx.node(end["node"]).run(["sh"], stdin="\n".join(lines) + "\n")


def remove_rules_script(netns: str, mark: str) -> str:
    """Remove every rule that carries the mark from a network namespace; nothing to do when that is gone."""
    inside = f"ip netns exec {netns} " if netns else ""
    there = f"[ -e /run/netns/{netns} ] || exit 0\n" if netns else ""
    return (
        f"{there}for t in filter mangle raw; do\n"
        f'  {inside}iptables -w 5 -t $t -S | grep -F -- "{mark}" | sed "s/^-A/-D/" | while read -r rule; do\n'
        f'    eval "{inside}iptables -w 5 -t $t $rule" || exit 1\n  done || exit 1\ndone\n'
        f'[ -z "$({inside}iptables-save | grep -F -- "{mark}")" ]\n'
    )


def rules_undo(aim: Aim) -> tuple[Undo, ...]:
    """For each node that is hit: remove the rules from the targets' network namespaces."""
    scripts: dict[str, str] = {}
    for e in aim.facts["ends"]:
        script = remove_rules_script(e["netns"], aim.mark)
        scripts[e["node"]] = scripts.get(e["node"], "set -e\n") + f"(\n{script})\n"
    return tuple(Undo(node, script) for node, script in scripts.items())


def rules_with(ctx: FaultContext, hit: Sequence[dict[str, str]]) -> list[str]:
    """All rules of ours and all queueing disciplines in these network namespaces; those that are gone hold none."""
    scripts: dict[str, str] = {}
    for e in hit:
        inside = f"ip netns exec {e['netns']}"
        scripts[e["node"]] = scripts.get(e["node"], "") + (
            f"if [ -e /run/netns/{e['netns']} ]; then\n"
            f"{inside} iptables-save | grep -F -- '--comment rh-' | sed 's/^/{e['pod']}: /'\n"
            f"{inside} tc qdisc show | grep -v -e noqueue -e 'qdisc noop' | sed 's/^/{e['pod']}: /'\nfi\n"
        )
    found = visit(ctx, {node: f"{script}:\n" for node, script in scripts.items()}).splitlines()
    return [line.strip() for line in found if line.strip()]


def hit_targets(ctx: FaultContext, target: Workload) -> tuple[Any, ...]:
    """The pods of a workload as targets."""
    return tuple(pod_target(p) for p in pods(ctx, target) if is_ready(p))


def came_since(ctx: FaultContext, target: Workload, aim: Aim) -> list[str]:
    """Pods of the target that came while rules were set in the others: they are not hit."""
    known = {t.uid for t in aim.targets}
    return [str(t) for t in hit_targets(ctx, target) if t.uid not in known]


__all__ = [
    "Connects",
    "between",
    "connects",
    "container_ids",
    "control_good",
    "control_pod",
    "ends",
    "probe",
    "rules_undo",
    "rules_with",
    "run_rules",
    "still_there",
    "victims",
]
