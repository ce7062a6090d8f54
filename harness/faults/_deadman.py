"""The dead-man: what undoes a fault when nobody else does.

One small shell process a fault and place, kept by systemd on a node (or detached on the runner's machine, for faults
that take the whole node away). It sleeps until a deadline that lies in a file; the runner pushes the deadline forward
while it lives, never beyond `max_s`; when the deadline passes, it runs the undo script until that succeeds.

A process that reads a deadline, rather than a timer that must be stopped and made anew at each renewal, leaves no
moment in which nothing is armed. Deadlines are on the node's uptime: no step of any clock moves them. After a reboot a
boot unit starts the process again with one lease to live.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness._errors import CommandFailed, FaultNotReverted
from harness._run import Completed, run
from harness.clusters._power import Power
from harness.clusters.base import Cluster, Node
from harness.env import Env
from harness.faults._model import HOST, RULE_PREFIX, Undo

NODE_DIR = "/var/lib/resilience-harness"
COMMAND_TIMEOUT_S = 15.0
GONE_CODE = 3  # what the scripts say when the dead-man has fired or was never there

# `$1` is the dead-man's folder. It removes the folder only after a good undo, so "no folder" means "undone".
_GUARD = """\
d=$1
echo $$ > "$d/pid"
while [ -d "$d" ]; do
  read -r up _ < /proc/uptime
  left=$(( $(cat "$d/until") - ${up%.*}${up#*.} ))
  [ "$left" -gt 0 ] || break
  sleep "$((left / 100)).$(printf %02d $((left % 100)))"
done
[ -d "$d" ] || exit 0
: > "$d/fired"
until flock "$d/lock" sh "$d/undo" >> "$d/log" 2>&1; do
  sleep 1
  [ -d "$d" ] || exit 0
done
rm -rf "$d"
exit 0
"""

_RENEW = """\
[ -d "$d" ] && [ ! -e "$d/fired" ] || exit 3
read -r up _ < /proc/uptime
until=$(( ${up%.*}${up#*.} + lease ))
max=$(cat "$d/max")
[ "$until" -lt "$max" ] || until=$max
echo "$until" > "$d/until.new" && mv "$d/until.new" "$d/until"
"""

# After a reboot: every dead-man that was armed gets one lease to live.
_RESUME = """\
for d in {base}/*/; do
  d=${{d%/}}; [ -f "$d/undo" ] || continue
  read -r up _ < /proc/uptime
  echo $(( ${{up%.*}}${{up#*.}} + $(cat "$d/lease") )) > "$d/until"
  systemd-run -q --unit="rh-undo-${{d##*/}}" -p Restart=on-failure -p RestartSec=1 -p StartLimitIntervalSec=0 sh "$d/guard" "$d"
done
"""

_UNIT = """\
[Unit]
Description=Undo what a fault left before the reboot
[Service]
Type=oneshot
ExecStart=/bin/sh /etc/rh-resume
"""

_UNIT_FILE = "/etc/systemd/system/rh-resume.service"
_WANTED = "/etc/systemd/system/multi-user.target.wants/rh-resume.service"
_RESUME_FILE = "/etc/rh-resume"
_LOCK = "exec 9> /run/rh.lock; flock 9\n"  # arming and clearing up after the last one must not cross


def _heredoc(path: str, text: str) -> str:
    end = "RH_END_OF_FILE"
    return f"cat > {path} <<'{end}'\n{text.rstrip()}\n{end}\n"


@dataclass(frozen=True)
class Place:
    """Where a dead-man lives: a node, or the runner's machine."""

    name: str
    base: str
    sh: Callable[..., Completed]  # (script, *, timeout_s, check)

    @property
    def on_host(self) -> bool:
        """Whether it is the runner's own machine."""
        return self.name == HOST


def place(where: str, env: Env, cluster: Cluster | None) -> Place:
    """The place of that name."""
    if where == HOST:
        base = env.state_dir / "deadman"

        def on_host(script: str, *, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True) -> Completed:
            return run(["sh"], stdin=script, timeout_s=timeout_s, check=check, where="this machine")

        return Place(HOST, str(base), on_host)
    if cluster is None:
        raise CommandFailed(f"no cluster to find node {where} in")
    node = cluster.node(where)

    def on_node(script: str, *, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True) -> Completed:
        return node.run(["sh"], stdin=script, timeout_s=timeout_s, check=check)

    return Place(where, NODE_DIR, on_node)


@dataclass(frozen=True)
class Deadman:
    """One dead-man: armed once, renewed often, told to undo now, and disarmed after a verified revert."""

    id: str
    place: Place
    undo: Undo

    @property
    def folder(self) -> str:
        """Where its script and deadline lie."""
        return f"{self.place.base}/{self.id}"

    @property
    def unit(self) -> str:
        """Its systemd unit."""
        return f"{RULE_PREFIX}undo-{self.id}"

    def _head(self, what: str, lease_s: float = 0.0) -> str:
        lease = f"lease={int(lease_s * 100)}\n" if lease_s else ""
        return f"# rh {what} {self.id}\nd={shlex.quote(self.folder)}\n{lease}"

    def arm(self, lease_s: float, max_s: float) -> None:
        """Start it; raises `CommandFailed` when it does not run afterwards."""
        boot = "" if self.place.on_host else self._boot()
        start = (
            'setsid -f sh "$d/guard" "$d" < /dev/null > /dev/null 2>&1\n'
            if self.place.on_host
            else f"systemd-run -q --unit={self.unit} -p Restart=on-failure -p RestartSec=1 -p StartLimitIntervalSec=0 "
            'sh "$d/guard" "$d"\n'
        )
        script = (
            self._head("arm", lease_s)
            + "set -e\n"
            + ("" if self.place.on_host else _LOCK)
            + 'mkdir -p -m 700 "$d"\n'
            + _heredoc('"$d/undo"', self.undo.script)
            + _heredoc('"$d/guard"', _GUARD)
            + 'echo "$lease" > "$d/lease"\nread -r up _ < /proc/uptime\nnow=${up%.*}${up#*.}\n'
            + f'echo $((now + {int(max_s * 100)})) > "$d/max"\necho $((now + lease)) > "$d/until"\n'
            + boot
            + start
            + 'i=0; until [ -s "$d/pid" ]; do i=$((i+1)); [ $i -lt 200 ] || exit 4; sleep 0.02; done\n'
        )
        self.place.sh(script)

    def _boot(self) -> str:
        base = self.place.base
        return (
            f"if [ ! -e {_WANTED} ]; then\n"
            + _heredoc(_RESUME_FILE, _RESUME.format(base=base))
            + _heredoc(_UNIT_FILE, _UNIT)
            + f"ln -sf {_UNIT_FILE} {_WANTED}\nfi\n"
        )

    def renew(self, lease_s: float) -> bool:
        """Push the deadline forward; False when it has fired already."""
        done = self.place.sh(self._head("renew", lease_s) + _RENEW, timeout_s=max(2.0, lease_s / 3), check=False)
        if done.code not in (0, GONE_CODE):
            raise CommandFailed("the dead-man could not be renewed", where=self.place.name, last=done.err or done.code)
        return done.code == 0

    def undo_now(self, timeout_s: float) -> Completed:
        """Run the undo script, one at a time with the dead-man itself; the result is not checked."""
        script = self._head("undo") + 'if [ -d "$d" ]; then exec flock "$d/lock" sh "$d/undo"; fi\n' + self.undo.script
        return self.place.sh(script, timeout_s=timeout_s, check=False)

    def disarm(self) -> None:
        """Stop it and remove its folder; raises `CommandFailed` when something of it stays."""
        if self.place.on_host:
            stop = (
                'pid=$(cat "$d/pid" 2>/dev/null); rm -rf "$d"\n'
                'line() { tr "\\0" " " < "/proc/$pid/cmdline" 2>/dev/null; }\n'
                'if [ -n "$pid" ] && line | grep -qF -- "$d"; then kill -- "-$pid" || :; fi\n'
            )
        else:
            stop = (
                f"systemctl stop {self.unit}.service 2>/dev/null\n"
                f'systemctl reset-failed {self.unit}.service 2>/dev/null\nrm -rf "$d"\n'
                + _LOCK
                + f"rmdir {self.place.base} 2>/dev/null && rm -f {_UNIT_FILE} {_WANTED} {_RESUME_FILE}\n"
            )
        self.place.sh(self._head("disarm") + stop + '[ ! -e "$d" ]\n')


def deadmen(fault_id: str, undos: tuple[Undo, ...], env: Env, cluster: Cluster | None) -> tuple[Deadman, ...]:
    """One dead-man for each undo."""
    return tuple(Deadman(f"{fault_id}-{n}", place(u.where, env, cluster), u) for n, u in enumerate(undos))


# An injection that is under way when the dead-man fires must not land after the undo: both hold the same lock.
_WHILE_ARMED = """\
d=$1; shift
exec 8>> "$d/lock" || exit 75
flock 8
[ -e "$d/until" ] && [ ! -e "$d/fired" ] || { echo "the dead-man has fired: nothing is injected any more" >&2; exit 75; }
"$@" 8>&-
"""


@dataclass(frozen=True)
class ArmedNode:
    """A node on which commands run only while a dead-man is armed there, and never beside its undo."""

    node: Node
    folder: str

    @property
    def name(self) -> str:
        """As the node's."""
        return self.node.name

    @property
    def role(self) -> str:
        """As the node's."""
        return self.node.role

    @property
    def power(self) -> Power | None:
        """As the node's."""
        return self.node.power

    def run(
        self, args: Sequence[str], *, timeout_s: float = 15, stdin: str | bytes | None = None, check: bool = True
    ) -> Completed:
        """Run a command, unless the dead-man has fired: then nothing is done and the exit code is 75."""
        command = ["sh", "-c", _WHILE_ARMED, "sh", self.folder, *args]
        return self.node.run(command, timeout_s=timeout_s, stdin=stdin, check=check)

    def put(self, source: Path, target: str, *, mode: str = "0755") -> None:
        """As the node's: a file alone does nothing."""
        self.node.put(source, target, mode=mode)

    def power_off(self) -> None:
        """As the node's."""
        self.node.power_off()

    def power_on(self) -> None:
        """As the node's."""
        self.node.power_on()

    def reboot(self) -> None:
        """As the node's."""
        self.node.reboot()


def while_armed(cluster: Cluster, armed: Sequence[Deadman]) -> Cluster:
    """The cluster for an injection: on nodes that have a dead-man of it, commands run only while that is armed."""
    folders = {d.place.name: d.folder for d in armed if not d.place.on_host}
    nodes = tuple(ArmedNode(n, folders[n.name]) if n.name in folders else n for n in cluster.nodes)
    return replace(cluster, nodes=nodes)


def leftovers(where: Place) -> list[str]:
    """The ids of the dead-men that are at a place, armed or fired."""
    shown = where.sh(f"# rh list\ncd {shlex.quote(where.base)} 2>/dev/null || exit 0\nls -d */ 2>/dev/null || :\n")
    return [line.rstrip("/") for line in shown.out.split()]


def undo_leftover(where: Place, deadman_id: str, timeout_s: float) -> None:
    """Run the script that a dead-man holds, and disarm it; raises `FaultNotReverted` when the script fails."""
    path = Path(where.base) / deadman_id / "undo"
    script = where.sh(f"# rh read {deadman_id}\ncat {shlex.quote(str(path))}\n").out
    deadman = Deadman(deadman_id, where, Undo(where.name, script))
    done = deadman.undo_now(timeout_s)
    if not done.ok:
        raise FaultNotReverted(
            f"what the fault {deadman_id} left could not be undone", where=where.name, last=done.err.strip() or done.out
        )
    deadman.disarm()
