"""Verdicts and findings: what a check says about one clause of a contract."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from harness._errors import HistoryError


class Verdict(IntEnum):
    """PASS, UNKNOWN (the evidence does not carry a verdict) or FAIL; UNKNOWN is never a pass."""

    PASS = 0
    UNKNOWN = 1
    FAIL = 2

    def __str__(self) -> str:
        return self.name


def merge(verdicts: Iterable[Verdict]) -> Verdict:
    """Any FAIL wins, then any UNKNOWN; nothing at all is UNKNOWN."""
    return max(verdicts, default=Verdict.UNKNOWN)


def compare(measured_s: float, err_s: float, budget_s: float) -> Verdict:
    """Whether a measured time keeps its budget; UNKNOWN when the measuring error covers the border."""
    if measured_s + err_s <= budget_s:
        return Verdict.PASS
    return Verdict.FAIL if measured_s - err_s > budget_s else Verdict.UNKNOWN


@dataclass(frozen=True)
class Evidence:
    """One record that a finding rests on, in words: when it happened and what it was."""

    t_s: float | None
    text: str


@dataclass(frozen=True)
class Rung:
    """One rung of the recovery ladder: when it was reached, how long that took, and whether it kept its budget."""

    name: str
    verdict: Verdict
    note: str
    t_s: float | None = None
    took_s: float | None = None
    err_s: float = 0.0
    budget_s: float | None = None


@dataclass(frozen=True)
class Finding:
    """What the judge says about one clause.

    Args:
        clause: the clause, as it reads in the scenario.
        verdict: PASS, UNKNOWN or FAIL.
        why: one sentence in the words of someone on call.
        budget: the limit, in `unit`; None where the clause has none.
        measured: what was measured, in `unit`; None where nothing was.
        unit: `s`, `ratio` or `count`.
        err_s: the half-width of the measurement's uncertainty, in seconds (0 for ratios and counts).
        evidence: the records that it rests on.
        rungs: the recovery ladder, for clauses about recovery.
        implicit: whether the judge added the clause itself.
    """

    clause: str
    verdict: Verdict
    why: str
    budget: float | None = None
    measured: float | None = None
    unit: str = "s"
    err_s: float = 0.0
    evidence: tuple[Evidence, ...] = ()
    rungs: tuple[Rung, ...] = ()
    implicit: bool = False

    @property
    def margin(self) -> float | None:
        """How much of the budget was left (negative: overrun)."""
        return None if self.budget is None or self.measured is None else self.budget - self.measured

    def to_json(self) -> dict[str, Any]:
        """As plain data; verdicts by name, the margin included."""
        out = asdict(self)
        out["verdict"], out["margin"] = self.verdict.name, self.margin
        out["rungs"] = [{**asdict(r), "verdict": r.verdict.name} for r in self.rungs]
        out["evidence"] = [asdict(e) for e in self.evidence]
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Finding:
        """Read back what `to_json` wrote.

        Raises:
            HistoryError: a field is missing or not understood.
        """
        try:
            fields = {k: v for k, v in data.items() if k != "margin"}
            fields["verdict"] = Verdict[data["verdict"]]
            fields["evidence"] = tuple(Evidence(**e) for e in data.get("evidence", ()))
            fields["rungs"] = tuple(Rung(**{**r, "verdict": Verdict[r["verdict"]]}) for r in data.get("rungs", ()))
            return cls(**fields)
        except (KeyError, TypeError) as err:
            raise HistoryError("a stored finding cannot be read", last=err, fix="harness judge RUN_DIR") from err


def secs(value_s: float) -> str:
    """A duration for people: `0.31 s`, `24.1 s`, `2 min 05 s`."""
    if abs(value_s) < 1:
        return f"{value_s:.2f} s"
    if abs(value_s) < 120:
        return f"{value_s:.1f} s"
    minutes, rest = divmod(round(value_s), 60)
    return f"{minutes} min {rest:02d} s"
