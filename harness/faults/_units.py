"""Load on a node: processes in a systemd unit that carries the fault's name, so that they end as one, with all children."""

from __future__ import annotations

from harness.faults import _nodes
from harness.faults._model import Aim, FaultContext, Undo


def unit(aim: Aim) -> str:
    """The unit of a fault's load."""
    return f"{aim.mark}-load.service"


def start(ctx: FaultContext, node: str, aim: Aim, script: str, max_s: float) -> None:
    """Run a script as the unit; systemd ends it at `max_s` in any case."""
    args = ["systemd-run", "-q", f"--unit={unit(aim)}", "-p", f"RuntimeMaxSec={max_s:g}", "-p", "OOMScoreAdjust=1000"]
    ctx.node(node).run([*args, "sh", "-c", script])


def undo(node: str, aim: Aim) -> Undo:
    """Stop the unit."""
    name = unit(aim)
    return Undo(
        node,
        f"systemctl stop {name} 2>/dev/null; systemctl reset-failed {name} 2>/dev/null\n"
        f"! systemctl -q is-active {name}\n",
    )


def pids_script(aim: Aim) -> str:
    """A line of shell that sets `pids` to the unit's processes."""
    main = f"$(systemctl show -p MainPID --value {unit(aim)})"
    return f'main={main}; pids="$main $(pgrep -P $main | tr "\\n" " ")"; [ "$main" -gt 0 ] || exit 1\n'


def units(ctx: FaultContext, node: str) -> list[str]:
    """The units of this kind that there are on a node."""
    return _nodes.shell(
        ctx.node(node), "systemctl list-units --all --plain --no-legend 'rh-*-load.service' | cut -d' ' -f1\n"
    ).split()
