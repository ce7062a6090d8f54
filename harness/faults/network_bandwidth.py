"""Narrow what a workload can send to a few kilobits a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _netns, _qdisc
from harness.faults._model import Aim, Fault, FaultContext, Seen, Undo, Workload, register, require
from harness.faults._pods import control_pod

PROBE_BYTES = 65_536
# Sends $1 bytes of UDP to the discard port of $2: a full queue makes the kernel drop, never wait. The interface's own
# counter says what really left, $3 seconds after the start.
_SEND = r"""
dev=$(ip -o -4 route get "$2" | sed -n 's/.* dev \([^ ]*\).*/\1/p')
tx() { cat /sys/class/net/$dev/statistics/tx_bytes; }
out() { ip -s -s link show "$dev" | awk '/TX:/ {getline; print $1; exit}'; }
a=$(out); s=${EPOCHREALTIME/./}
i=0; while [ $i -lt $(( $1 / 1024 )) ]; do printf '%01000d' 0 > "/dev/udp/$2/9" 2>/dev/null; i=$((i+1)); done
sleep "$3"
b=$(out); e=${EPOCHREALTIME/./}
echo "$((b - a)) $(( (e - s) / 1000 ))"
"""


@register
@dataclass(frozen=True, kw_only=True)
class Bandwidth(Fault):
    """Limit what the target's pods can send with a token bucket.

    Proof: of a burst sent from the pod's network only what the rate allows has left the interface. Control: the same burst
    from another pod's network leaves whole.

    Args:
        target: whose pods are narrowed.
        rate_kbit: kilobits a second.
    """

    name: ClassVar[str] = "network.bandwidth"

    target: Workload
    rate_kbit: int = 64

    def validate(self) -> None:
        """Check the rate."""
        require(
            8 <= self.rate_kbit <= 256, f"{self.name}: rate_kbit", self.rate_kbit, "8 to 256 (what the proof can tell)"
        )

    def resolve(self, ctx: FaultContext) -> Aim:
        """The pods and their network namespaces."""
        found = _netns.victims(ctx, self.target, "all")
        other = control_pod(ctx, self.target, node=found[0]["spec"]["nodeName"])
        ends = _netns.ends(ctx, [*found, *([other] if other else [])])
        facts = {
            "ends": ends[: len(found)],
            "control": ends[-1] if other else None,
        }
        return Aim(_netns.hit_targets(ctx, self.target), f"tc tbf {self.rate_kbit} kbit", facts)

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove the queueing discipline that carries our handle."""
        return tuple(
            Undo(e["node"], _qdisc.undo_script(e["netns"], "tbf", _qdisc.handle(aim))) for e in aim.facts["ends"]
        )

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """A token bucket as the root of the pod's interface."""
        for e in aim.facts["ends"]:
            rate = f"rate {self.rate_kbit}kbit burst 4kb latency 50ms"
            script = f"ip netns exec {e['netns']} tc qdisc add dev eth0 root handle {_qdisc.handle(aim)}: tbf {rate}\n"
            ctx.node(e["node"]).run(["sh"], stdin=script)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """What left the interface, of what was sent."""
        evidence: dict[str, Any] = {"wanted_kbit": self.rate_kbit}
        rates = [self._sent(ctx, e) for e in _netns.still_there(ctx, aim.facts["ends"])]
        evidence["sent_kbit"] = [round(r) for r in rates]
        # The bucket's burst and its queue leave at once on top of the rate.
        limit = self.rate_kbit * 1.5 + 64
        if not rates or not all(r < limit for r in rates):
            return Seen(False, evidence)
        control = aim.facts["control"]
        evidence["control_kbit"] = round(self._sent(ctx, control)) if control else "none"
        return Seen(control is None or evidence["control_kbit"] > limit, evidence)

    @staticmethod
    def _sent(ctx: FaultContext, end: dict[str, str]) -> float:
        gateway = "169.254.1.1"  # Calico's; nothing listens, which is all the same to what is sent
        args = ["ip", "netns", "exec", end["netns"], "bash", "-s", str(PROBE_BYTES), gateway, "0.5"]
        sent_bytes, took_ms = map(int, ctx.node(end["node"]).run(args, stdin=_SEND).out.split())
        return sent_bytes * 8 / max(1, took_ms)

    def missed(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Pods of the target that came since."""
        return _netns.came_since(ctx, self.target, aim)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Queueing disciplines in these pods' networks."""
        return _netns.rules_with(ctx, aim.facts["ends"])
