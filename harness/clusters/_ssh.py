"""Machines over SSH: one connection a machine and process, host keys verified, commands side by side in its channels."""

from __future__ import annotations

import atexit
import shlex
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness._clock import CLOCK
from harness._errors import CommandFailed
from harness._run import Completed
from harness.clusters._inventory import Login, Machine
from harness.clusters._power import Power, need

if TYPE_CHECKING:
    import paramiko

CONNECT_TIMEOUT_S = 10.0
CHANNELS = 8  # an SSH server allows ten sessions a connection by default
PUT_TIMEOUT_S = 300.0
PIECE_BYTES = 2**17
_PUT = 'cat > "$0.new" && chmod "$1" "$0.new" && mv -f "$0.new" "$0"'


@dataclass
class Connection:
    """The connection to one machine; made when first needed, made again when it is lost."""

    host: str
    login: Login
    _client: paramiko.SSHClient | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _slots: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(CHANNELS))

    def execute(self, command: str, stdin: bytes | None, timeout_s: float) -> tuple[int, bytes, bytes]:
        """Run a command line; return exit code, stdout and stderr; raises `CommandFailed`."""
        end_s = CLOCK.monotonic() + timeout_s
        if not self._slots.acquire(timeout=timeout_s):
            raise CommandFailed(f"no free channel within {timeout_s:g} s", where=self.host)
        try:
            channel = self._open(end_s)
            with channel:
                return _converse(channel, command, stdin, end_s)
        finally:
            self._slots.release()

    def _open(self, end_s: float) -> paramiko.Channel:
        """A channel; over a new connection when the old one is gone (nothing was sent on it yet)."""
        import paramiko

        for last_try in (False, True):
            client = self._connected(end_s)
            transport = client.get_transport()
            try:
                if transport is None:
                    raise paramiko.SSHException("not connected")
                return transport.open_session(timeout=max(1.0, min(CONNECT_TIMEOUT_S, end_s - CLOCK.monotonic())))
            except (paramiko.SSHException, OSError, EOFError) as err:
                self._drop(client)
                if last_try or CLOCK.monotonic() > end_s:
                    raise CommandFailed("the connection is lost", where=self.host, last=repr(err)) from err
        raise AssertionError

    def _connected(self, end_s: float) -> paramiko.SSHClient:
        with self._lock:
            if self._client is None:
                self._client = connect(
                    self.host, self.login, max(1.0, min(CONNECT_TIMEOUT_S, end_s - CLOCK.monotonic()))
                )
            return self._client

    def _drop(self, client: paramiko.SSHClient) -> None:
        with self._lock:
            if self._client is client:
                self._client = None
        client.close()

    def close(self) -> None:
        """Close it; the next command opens it again."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def connect(host: str, login: Login, timeout_s: float) -> paramiko.SSHClient:
    """Log in.

    Raises:
        CommandFailed: which of the many things that can be wrong it was, and what to try.
    """
    import paramiko

    where = f"{login.user}@{host}:{login.port}"
    for file, what in ((login.key, "private key"), (login.known_hosts, "file of known hosts")):
        if not file.is_file():
            raise CommandFailed(f"no such {what}", where=str(file), fix="the inventory names it")
    client = paramiko.SSHClient()
    client.load_host_keys(str(login.known_hosts))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    scan = (
        f"ssh-keyscan -p {login.port} {host}, compare it with the machine's own key, then add it to {login.known_hosts}"
    )
    try:
        client.connect(
            host,
            port=login.port,
            username=login.user,
            key_filename=str(login.key),
            timeout=timeout_s,
            banner_timeout=timeout_s,
            auth_timeout=timeout_s,
            look_for_keys=False,
        )
    except paramiko.BadHostKeyException as err:
        client.close()
        last = f"it shows {err.key.fingerprint}, known is {err.expected_key.fingerprint}"
        raise CommandFailed(
            "the host key has changed: another machine, or somebody in between", where=where, last=last, fix=scan
        ) from err
    except paramiko.PasswordRequiredException as err:
        client.close()
        raise CommandFailed("the private key has a passphrase", where=str(login.key), fix="ssh-add it first") from err
    except paramiko.AuthenticationException as err:
        client.close()
        raise CommandFailed(
            "the machine refuses this key",
            where=where,
            last=str(err),
            fix=f"is {login.key}.pub among its authorized_keys?",
        ) from err
    except paramiko.SSHException as err:
        client.close()
        if "known_hosts" in str(err):
            raise CommandFailed("the host key is not known", where=where, last=str(err), fix=scan) from err
        raise CommandFailed("no SSH session", where=where, last=str(err)) from err
    except (TimeoutError, socket.gaierror, OSError) as err:
        client.close()
        raise CommandFailed(
            "the machine cannot be reached",
            where=where,
            last=str(err) or repr(err),
            fix="is it on, is this its address?",
        ) from err
    return client


def _converse(channel: paramiko.Channel, command: str, stdin: bytes | None, end_s: float) -> tuple[int, bytes, bytes]:
    """Feed stdin, read both outputs to their ends, and the exit code, all before the deadline."""
    import paramiko

    errors = bytearray()

    def feed() -> None:
        try:
            # In pieces: sendall copies all that is left after each packet.
            for start in range(0, len(stdin or b""), PIECE_BYTES):
                channel.sendall((stdin or b"")[start : start + PIECE_BYTES])
            channel.shutdown_write()
        except OSError:
            return  # it ended without reading all: its exit code tells

    def read_errors() -> None:
        try:
            while part := channel.recv_stderr(65536):
                errors.extend(part)
        except OSError:
            return  # the deadline has passed: said below

    def left_s() -> float:
        return max(0.05, end_s - CLOCK.monotonic())

    channel.settimeout(left_s())
    helpers = [threading.Thread(target=t, daemon=True) for t in (feed, read_errors)]
    out = bytearray()
    try:
        channel.exec_command(command)
        for helper in helpers:
            helper.start()
        while part := channel.recv(65536):
            out.extend(part)
            channel.settimeout(left_s())
        if not channel.status_event.wait(left_s()):
            raise TimeoutError
        helpers[1].join(left_s())
    except (TimeoutError, paramiko.SSHException, OSError, EOFError) as err:
        late = CLOCK.monotonic() >= end_s - 0.05
        what = "still running when its time was over, left alone" if late else "the connection was lost under it"
        raise CommandFailed(what, last=bytes(errors[-600:]).decode(errors="replace") or repr(err)) from err
    code = channel.exit_status
    if code < 0:
        raise CommandFailed(
            "the connection was lost under it", last=bytes(errors[-600:]).decode(errors="replace") or None
        )
    return code, bytes(out), bytes(errors)


_connections: dict[tuple[str, int, str, Path], Connection] = {}
_lock = threading.Lock()


def connection(machine: Machine) -> Connection:
    """This process' connection to a machine."""
    key = (machine.host, machine.login.port, machine.login.user, machine.login.key)
    with _lock:
        if key not in _connections:
            if not _connections:
                atexit.register(close_all)
            _connections[key] = Connection(machine.host, machine.login)
        return _connections[key]


def close_all() -> None:
    """Close every connection of this process."""
    with _lock:
        for known in _connections.values():
            known.close()


@dataclass(frozen=True)
class SshNode:
    """A node that is a machine of the inventory."""

    machine: Machine

    @property
    def name(self) -> str:
        """The Kubernetes node name."""
        return self.machine.name

    @property
    def role(self) -> str:
        """`control-plane` or `worker`."""
        return self.machine.role

    @property
    def power(self) -> Power | None:
        """What switches it, if the inventory says."""
        return self.machine.power.commands() if self.machine.power else None

    def run(
        self, args: Sequence[str], *, timeout_s: float = 15, stdin: str | bytes | None = None, check: bool = True
    ) -> Completed:
        """Run a command as root on the machine."""
        start_s = CLOCK.monotonic()
        sudo = ("sudo", "-n", "--") if self.machine.login.become else ()
        data = stdin.encode() if isinstance(stdin, str) else stdin
        shown, where = shlex.join(args)[:300], f"node {self.name}"
        try:
            code, out, err = connection(self.machine).execute(shlex.join([*sudo, *args]), data, timeout_s)
        except CommandFailed as failed:
            what = failed.what if failed.where else f"{shown}: {failed.what}"
            raise CommandFailed(what, where=failed.where or where, last=failed.last, fix=failed.fix) from failed
        done = Completed(
            tuple(args), code, out.decode(errors="replace"), err.decode(errors="replace"), CLOCK.monotonic() - start_s
        )
        if check and not done.ok:
            last = "\n".join((done.err.strip() or done.out.strip()).splitlines()[-12:])
            raise CommandFailed(f"{shown}: exit {code}", where=where, last=last)
        return done

    def put(self, source: Path, target: str, *, mode: str = "0755") -> None:
        """Copy a local file onto the machine, in place at once or not at all."""
        self.run(["sh", "-c", _PUT, target, mode], stdin=source.read_bytes(), timeout_s=PUT_TIMEOUT_S)

    def power_off(self) -> None:
        """Cut the power; raises `TargetError` when nothing switches it."""
        need(self.power, self.name).switch("off", self.name)

    def power_on(self) -> None:
        """Switch it on."""
        need(self.power, self.name).switch("on", self.name)

    def reboot(self) -> None:
        """Reset it, or ask its kernel when nothing switches its power."""
        if self.power is not None:
            self.power.switch("reset", self.name)
            return
        later = "sleep 0.3; systemctl --force --force reboot"
        self.run(["sh", "-c", f"setsid -f sh -c '{later}' </dev/null >/dev/null 2>&1"])


def all_reachable(machines: Sequence[Machine]) -> dict[str, str]:
    """Log in to every machine at once; return, for those that could not be, why (by name)."""
    from concurrent.futures import ThreadPoolExecutor

    def why(machine: Machine) -> str:
        try:
            connection(machine).execute("true", None, CONNECT_TIMEOUT_S + 2)
        except CommandFailed as err:
            return str(err)
        return ""

    with ThreadPoolExecutor(len(machines)) as pool:
        found = dict(zip((m.name for m in machines), pool.map(why, machines), strict=True))
    return {name: reason for name, reason in found.items() if reason}


__all__ = ["Connection", "SshNode", "all_reachable", "close_all", "connect", "connection"]
