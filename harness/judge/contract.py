"""Contracts: what must, may and must not happen. A clause is data with one pure check over a history.

A clause class registers itself by its name in scenarios (`must_fire`), so that a contract can be stored in the
history and judged again later. The words to use in scenarios are in `harness.judge`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, ClassVar

from harness._errors import ContractError
from harness.history import History
from harness.judge.facts import Facts
from harness.judge.profiles import PROFILES, Profile, profile
from harness.judge.verdict import Evidence, Finding, Verdict


@dataclass(frozen=True)
class AlertInfo:
    """What the harness knows of an alert.

    Args:
        app: the Deployment that it is about, if one.
        for_s: its rule's `for` in this profile.
        cluster_wide: it carries no namespace label (nodes, the platform).
    """

    app: str | None = None
    for_s: float | None = None
    cluster_wide: bool = False


@dataclass(frozen=True)
class Context:
    """What a check may know besides the history.

    Args:
        profile: the timing from which budgets derive.
        known_alerts: the alerts that exist; None: not known, names are not checked.
        budgets: budgets that replace the derived ones, by clause text (`harness judge --budget`).
    """

    profile: Profile = field(default_factory=lambda: PROFILES["fast"])
    known_alerts: Mapping[str, AlertInfo] | None = None
    budgets: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, history: History, known_alerts: Mapping[str, AlertInfo] | None = None) -> Context:
        """The context that a history itself names: its profile, with the timing recorded at its start."""
        start = Facts(history).start
        base = profile(str(start.get("profile") or "fast"))
        return cls(base.with_timing(start.get("timing") or {}), known_alerts).with_rules()

    def with_rules(self) -> Context:
        """With each known alert's own `for` in the profile."""
        own = {name: info.for_s for name, info in (self.known_alerts or {}).items() if info.for_s is not None}
        merged = {**self.profile.alert_for_s, **own}
        return replace(self, profile=replace(self.profile, alert_for_s=merged))

    def app_of(self, alert: str) -> str | None:
        """The Deployment that an alert is about."""
        info = (self.known_alerts or {}).get(alert)
        return info.app if info else None


@dataclass(frozen=True)
class Clause(ABC):
    """One clause. Subclasses are frozen dataclasses of plain data, named as scenarios write them."""

    word: ClassVar[str] = ""
    implicit: ClassVar[bool] = False

    @abstractmethod
    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Judge the clause over a history. Pure: reads no clock, no cluster, no file."""

    def validate(self, ctx: Context) -> None:
        """Refuse a clause that cannot be meant.

        Raises:
            ContractError: naming the clause.
        """
        return

    def sources(self) -> tuple[str, ...]:
        """The sources without which the clause cannot be judged."""
        return ()

    def __str__(self) -> str:
        """The clause as a scenario writes it, defaults left out."""
        shown = []
        for f in fields(self):
            value = getattr(self, f.name)
            required = f.default is MISSING and f.default_factory is MISSING
            if required:
                shown.append(repr(value))
            elif value != f.default and value not in ((), {}, None):
                shown.append(f"{f.name}={value!r}")
        return f"{self.word}({', '.join(shown)})".replace("'", '"')

    def finding(self, verdict: Verdict, why: str, **more: Any) -> Finding:
        """A finding about this clause."""
        return Finding(str(self), verdict, why, implicit=self.implicit, **more)

    def unknown(self, why: str, **more: Any) -> Finding:
        """The finding that the evidence does not carry a verdict."""
        return self.finding(Verdict.UNKNOWN, why, **more)

    def budget_s(self, derived_s: float, ctx: Context) -> float:
        """The budget: given by the user at judging, written in the clause, or derived."""
        written = getattr(self, "within_s", None)
        return ctx.budgets.get(str(self), derived_s if written is None else float(written))

    def refuse(self, why: str, fix: str = "") -> ContractError:
        """The error that names this clause."""
        return ContractError(f"{self}: {why}", fix=fix)

    def to_json(self) -> dict[str, Any]:
        """The clause as plain data."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"clause": self.word, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


_WORDS: dict[str, type[Clause]] = {}


def clause(kind: type[Clause]) -> type[Clause]:
    """Register a clause class under its word."""
    _WORDS[kind.word] = kind
    return kind


def clause_from_json(data: Mapping[str, Any], where: str = "") -> Clause:
    """A clause from what `to_json` wrote.

    Raises:
        ContractError: an unknown word or field.
    """
    word = str(data.get("clause"))
    kind = _WORDS.get(word)
    if kind is None:
        raise ContractError(f"no clause named {word!r}", where=where, fix=f"one of {', '.join(sorted(_WORDS))}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k != "clause"}
    try:
        return kind(**values)
    except (TypeError, ValueError) as err:
        raise ContractError(f"clause {word}: {err}", where=where) from err


def contract_from_json(items: Iterable[Mapping[str, Any]], where: str = "") -> tuple[Clause, ...]:
    """A contract from its stored form; errors name the clause's number."""
    return tuple(clause_from_json(c, f"{where}clause {n}") for n, c in enumerate(items, 1))


def stored_contract(history: History) -> tuple[Clause, ...]:
    """The contract that a history carries; a later record adds to an earlier one."""
    found: list[Clause] = []
    for record in history.of("story", "contract"):
        found += contract_from_json(record.data.get("clauses", ()), f"{history.header.scenario}: ")
    return tuple(dict.fromkeys(found))


def validate(clauses: Sequence[Clause], ctx: Context) -> None:
    """Refuse a contract that cannot be meant: unknown alerts, budgets that detection cannot keep, negative numbers.

    Raises:
        ContractError: naming the clause.
    """
    texts = [str(c) for c in clauses]
    for text in ctx.budgets:
        if text not in texts:
            raise ContractError(f"no clause reads {text}", fix=f"one of: {'; '.join(texts) or 'none'}")
    for c in clauses:
        for f in fields(c):
            value = getattr(c, f.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if not math.isfinite(value) or value < 0:
                raise c.refuse(f"{f.name} must be a number of at least 0")
        c.validate(ctx)


def target_name(target: object) -> str:
    """The name behind a target object of the harness, or a plain name."""
    if isinstance(target, str):
        return target
    for attribute in ("deployment", "app", "name"):
        found = getattr(target, attribute, None)
        if isinstance(found, str) and found:
            return found
    raise ContractError(f"{target!r} has no name", fix="give the Deployment's name")


def blind_text(gaps: Sequence[object]) -> str:
    """The gaps in words, the first two in full."""
    more = f" and {len(gaps) - 2} more" if len(gaps) > 2 else ""
    return "; ".join(str(g) for g in gaps[:2]) + more


def at(t_s: float | None, text: str) -> Evidence:
    """A piece of evidence."""
    return Evidence(t_s, text)
