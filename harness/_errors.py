"""The one error tree.

HarnessError                 what to catch; carries what, where, last seen, what to try
 ├── UsageError              the caller asked for something that cannot be (bad spec, bad option)
 ├── MachineNotReady         this machine lacks something (Docker, disk, root, a free port)
 ├── CommandFailed           a command ended with a non-zero code or ran out of its time
 ├── WaitTimeout             a wait's budget ran out
 ├── FatalState              a wait saw a state from which it cannot succeed
 ├── BundleError             an image or a manifest could not be had
 ├── ClusterError            the cluster could not be made, reached or removed
 ├── DeployError             Git, Argo CD or the stack refused a deployment
 ├── TargetError             no such target, or it is outside the allow-list
 ├── FaultNotProven          injected, but no effect was seen: the scenario is UNKNOWN
 ├── FaultNotReverted        the environment is dirty: the session stops
 ├── HistoryError            a history cannot be read (truncated, newer schema)
 └── ContractError           a contract or a policy cannot be understood
"""

from __future__ import annotations

from typing import Any


class HarnessError(Exception):
    """Base of all errors of the harness: what happened, where, what was last seen, what to try.

    Args:
        what: what went wrong, one short clause.
        where: the place (host, namespace/name, file:line).
        last: the last thing that was observed.
        fix: what the user can try.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", last: object = None, fix: str = "") -> None:
        self.what, self.where, self.last, self.fix = what, where, last, fix
        super().__init__(what)

    def __reduce__(self) -> tuple[Any, ...]:
        # xdist sends exceptions between processes; keyword-only arguments need help to survive that.
        return _rebuild, (type(self), self.what, self.where, self.last, self.fix)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"at {self.where}")
        if self.last is not None:
            parts.append(f"last seen: {self.last}")
        if self.fix:
            parts.append(f"try: {self.fix}")
        return "; ".join(parts)


def _rebuild(kind: type[HarnessError], what: str, where: str, last: object, fix: str) -> HarnessError:
    return kind(what, where=where, last=last, fix=fix)


class UsageError(HarnessError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class MachineNotReady(HarnessError):
    """This machine lacks something that the harness needs."""


class CommandFailed(HarnessError):
    """A command ended with a non-zero code, or ran out of its time."""


class WaitTimeout(HarnessError):
    """A wait's budget ran out."""


class FatalState(HarnessError):
    """A wait saw a state from which it cannot succeed."""


class BundleError(HarnessError):
    """An image or a manifest could not be had."""


class ClusterError(HarnessError):
    """The cluster could not be made, reached or removed."""


class DeployError(HarnessError):
    """Git, Argo CD or the stack refused a deployment."""


class TargetError(HarnessError):
    """No such target, or it is outside the allow-list."""


class FaultNotProven(HarnessError):
    """A fault was injected but its effect was not seen; the scenario is UNKNOWN."""


class FaultNotReverted(HarnessError):
    """A fault's effect is still there after its revert: the environment is dirty, the session stops."""


class HistoryError(HarnessError):
    """A history cannot be read."""


class ContractError(HarnessError):
    """A contract or a policy cannot be understood."""

    exit_code = 2
