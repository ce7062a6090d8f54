"""The Watchdog: the alert that always fires, told to on-call again and again so that its silence is noticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.judge.contract import Clause, Context, at, blind_text, clause
from harness.judge.facts import Facts, Gap
from harness.judge.verdict import Finding, Verdict, secs


@clause
@dataclass(frozen=True)
class WatchdogSilent(Clause):
    """The fault takes the alerting itself away: on-call stops hearing the Watchdog, and hears it again afterwards.

    With it the silence, which otherwise makes a story UNKNOWN, is what the story asks for.
    """

    word: ClassVar[str] = "watchdog_silent"

    def sources(self) -> tuple[str, ...]:
        """The receiver: nothing else can tell silence from deafness."""
        return ("receiver",)

    def check(self, facts: Facts, ctx: Context) -> Finding:
        """Missed at least once after the fault took effect, then heard again."""
        start = facts.disturbance
        if start is None:
            return self.unknown("nothing was done to the system")
        if facts.watchdog_every_s is None:
            return self.unknown("the history does not say how often the Watchdog is repeated")
        gaps = facts.blind(self.sources(), start.t_s, facts.end_s)
        if gaps:
            return self.unknown(f"cannot tell whether the Watchdog was silent: {blind_text(gaps)}")
        limit_s = facts.watchdog_limit_s
        silences = [g for g in facts.watchdog_silences() if g.end_s > start.t_s]
        if not silences:
            watched_s = facts.end_s - start.t_s
            if watched_s <= limit_s:
                return self.unknown(
                    f"the story ended {secs(watched_s)} after the fault; silence shows after {secs(limit_s)}"
                )
            return self.finding(Verdict.FAIL, f"on-call heard the Watchdog all the time, at least each {secs(limit_s)}")
        first, last = silences[0], silences[-1]
        if first.start_s + limit_s < start.t_s:
            return self.unknown("the Watchdog was silent before the fault already")
        evidence = tuple(at(g.start_s, str(g)) for g in silences)
        if last.end_s >= facts.end_s:
            return self.unknown(f"the Watchdog was not heard again since {last.start_s:.0f} s", evidence=evidence)
        rings_s = first.start_s + limit_s - start.t_s
        why = f"the Watchdog was silent for {secs(first.end_s - first.start_s)}: on-call knew {secs(rings_s)} after the fault"
        return self.finding(Verdict.PASS, why, measured=rings_s, err_s=start.err_s, evidence=evidence)


def unexpected_silence(facts: Facts, needed: list[str]) -> list[Gap]:
    """Where the Watchdog did not reach on-call although the receiver's word is needed: no alert would have."""
    if "receiver" not in needed:
        return []
    return [g for g in facts.watchdog_silences() if g.end_s > facts.attempted_s]
