"""Hold back the packets that a workload receives from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness._errors import MachineNotReady
from harness.faults import _netns, _nodetool, _qdisc
from harness.faults._model import Aim, FaultContext, Seen, Undo, register, require
from harness.faults._paths import PathFault

QUEUE = 7  # in the pod's own network namespace; nothing else has queues there
SAMPLES = 15
ABLE = "iptables -t mangle -A INPUT -j NFQUEUE --queue-num 7 --queue-bypass"


@register
@dataclass(frozen=True, kw_only=True)
class Latency(PathFault):
    """Hold back the packets between the target and `source`, in one direction.

    Where the nodes' kernel has netem, what the target sends to `source` is held back by it. Elsewhere a delayer reads an
    NFQUEUE in the pod's network namespace, for what the target receives; if it dies, packets pass at once. Either way a
    connect takes the delay longer; the mechanism is in the record.
    Proof: the median time of a TCP connect has grown by the delay, within a fifth of it, the jitter, and 15 ms. Control:
    connects of the same pod to another workload have not grown by half of it.

    Args:
        target: whose pods get packets late.
        source: from whom.
        delay_ms: how long each packet is held back.
        jitter_ms: up to so much more or less, evenly spread.
        port: where the proof connects to; the target's first declared port when 0.
    """

    name: ClassVar[str] = "network.latency"

    delay_ms: float = 100.0
    jitter_ms: float = 0.0

    def validate(self) -> None:
        """Check the times and the port."""
        super().validate()
        require(20 <= self.delay_ms <= 10_000, f"{self.name}: delay_ms", self.delay_ms, "20 to 10000")
        require(0 <= self.jitter_ms <= self.delay_ms, f"{self.name}: jitter_ms", self.jitter_ms, "0 to delay_ms")

    def resolve(self, ctx: FaultContext) -> Aim:
        """Both sides' pods, and how quick connects are now; refused where the kernel has no packet queues."""
        facts = _netns.between(ctx, self.source, self.target, self.port)
        nodes = list(dict.fromkeys(e["node"] for e in facts["ends"]))
        facts["netem"] = all(_qdisc.has_netem(ctx.node(n)) for n in nodes)
        for node in () if facts["netem"] else nodes:
            if not ctx.node(node).run(["unshare", "-n", "sh", "-c", ABLE], check=False).ok:
                raise MachineNotReady(
                    "the node cannot hold packets back", where=node, fix="a kernel that has netem or NFQUEUE"
                )
        facts["before_ms"] = self._median(ctx, facts)
        facts["control_before_ms"] = self._control(ctx, facts)
        how = "netem on the pod's interface" if facts["netem"] else "NFQUEUE + delayer in the pod's network namespace"
        return Aim(_netns.hit_targets(ctx, self.target), how, facts)

    def _args(self, ip: str, port: int) -> list[str]:
        wait_ms = int(self.delay_ms + self.jitter_ms + 900)
        return ["probe", "-n", str(SAMPLES), "-timeout", f"{wait_ms}ms", f"{ip}:{port}"]

    def _median(self, ctx: FaultContext, facts: dict[str, Any]) -> float:
        source = facts["source"]
        answers = [
            _nodetool.ask(ctx, source["node"], self._args(e["ip"], facts["port"]), netns=source["netns"])
            for e in facts["ends"]
        ]
        return min((float(a["median_ms"]) for a in answers if a.get("ok")), default=0.0)

    def _control(self, ctx: FaultContext, facts: dict[str, Any]) -> float:
        control, source = facts["control"], facts["source"]
        if control is None:
            return 0.0
        args = self._args(control["ip"], control["port"])
        return float(_nodetool.ask(ctx, source["node"], args, netns=source["netns"]).get("median_ms", 0.0))

    def undo(self, ctx: FaultContext, aim: Aim) -> tuple[Undo, ...]:
        """Remove our queueing discipline; or our rules, and then stop the delayers."""
        if aim.facts["netem"]:
            own = _qdisc.handle(aim)
            return tuple(Undo(e["node"], _qdisc.undo_script(e["netns"], "prio", own)) for e in aim.facts["ends"])
        return tuple(
            Undo(u.where, f"({u.script.rstrip()}\n) || exit 1\n{_nodetool.stop_unit_line(f'{aim.mark}-delay-{n}')}\n")
            for n, u in enumerate(_netns.rules_undo(aim))
        )

    def inject(self, ctx: FaultContext, aim: Aim) -> None:
        """Hold back what the target sends to the source; or start the delayers, then send them what it receives."""
        if aim.facts["netem"]:
            for end in aim.facts["ends"]:
                script = _qdisc.add_netem_script(
                    end["netns"],
                    _qdisc.handle(aim),
                    aim.facts["peers"],
                    delay_ms=self.delay_ms,
                    jitter_ms=self.jitter_ms,
                )
                ctx.node(end["node"]).run(["sh"], stdin=script)
            return
        queue = f"-j NFQUEUE --queue-num {QUEUE} --queue-bypass"
        rules = [f"-t mangle -I INPUT -s {ip} -m comment --comment {aim.mark} {queue}" for ip in aim.facts["peers"]]
        for n, end in enumerate(aim.facts["ends"]):
            tool = _nodetool.path_on(ctx, end["node"])
            hold = f"{tool} delay -queue {QUEUE} -delay {self.delay_ms}ms -jitter {self.jitter_ms}ms"
            unit = f"{aim.mark}-delay-{n}"
            line = _nodetool.start_unit(unit, f"ip netns exec {end['netns']} {hold}", "Restart=on-failure")
            ctx.node(end["node"]).run(["sh", "-ec", line])
            _netns.run_rules(ctx, end, rules)

    def observe(self, ctx: FaultContext, aim: Aim) -> Seen:
        """How much longer do connects take, to the target and to the control?"""
        added = self._median(ctx, aim.facts) - aim.facts["before_ms"]
        evidence: dict[str, Any] = {
            "added_ms": round(added, 1),
            "wanted_ms": self.delay_ms,
            "before_ms": round(aim.facts["before_ms"], 1),
        }
        if added < self.delay_ms / 2:
            return Seen(False, evidence)
        control = self._control(ctx, aim.facts) - aim.facts["control_before_ms"]
        evidence |= {"control": _netns.control_name(aim.facts), "control_added_ms": round(control, 1)}
        close = abs(added - self.delay_ms) <= 0.2 * self.delay_ms + self.jitter_ms + 15
        return Seen(close and control < self.delay_ms / 2, evidence)

    def traces(self, ctx: FaultContext, aim: Aim) -> list[str]:
        """Rules and delayers of ours."""
        ends = aim.facts["ends"]
        running = [
            f"{n}: {u}" for n in dict.fromkeys(e["node"] for e in ends) for u in _nodetool.units(ctx, n, aim.mark)
        ]
        return _netns.rules_with(ctx, ends) + running
