"""A run on disk: what a run directory holds, results.json and junit.xml."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from harness._clock import utc_text
from harness._errors import HistoryError
from harness.history import History, read_history
from harness.judge import Finding, ScenarioResult, Verdict, aggregate, merge
from harness.report.gate import GateResult

SCHEMA = 1


@dataclass(frozen=True)
class Run:
    """A run directory: `run.json` and one directory a scenario with `history.jsonl` and `result.json`."""

    path: Path
    info: Mapping[str, Any]
    results: tuple[ScenarioResult, ...]
    histories: Mapping[str, Path] = field(default_factory=dict)


def run_info(path: Path) -> dict[str, Any]:
    """What is known of the run as a whole; at least its id."""
    info: dict[str, Any] = _load(path / "run.json") if (path / "run.json").exists() else {}
    return {"run": path.name, **info}


def histories(path: Path) -> dict[str, History]:
    """The histories of a run, by directory name; a run without any is refused.

    Raises:
        HistoryError: not a run directory, or an empty one.
    """
    files = sorted(path.glob("scenarios/*/history.jsonl"))
    if not files:
        raise HistoryError("the run has no scenario", where=str(path), fix="give a directory such as reports/RUN")
    return {f.parent.name: read_history(f) for f in files}


def load_run(path: Path) -> Run:
    """A run as it was judged.

    Raises:
        HistoryError: not a run directory, an empty one, or results that cannot be read.
    """
    if not path.is_dir():
        raise HistoryError("no such run", where=str(path), fix="give a directory such as reports/RUN")
    files = sorted(path.glob("scenarios/*/result.json"))
    if not files:
        raise HistoryError("the run has no judged scenario", where=str(path), fix=f"harness judge {path}")
    try:
        results = tuple(ScenarioResult.from_json(_load(f)) for f in files)
    except (KeyError, TypeError, ValueError) as err:
        raise HistoryError("a result cannot be read", where=str(path), last=err, fix="harness judge RUN_DIR") from err
    kept = {f.parent.name: f.parent / "history.jsonl" for f in files}
    return Run(path, run_info(path), results, kept)


def latest_run(root: Path) -> Path:
    """The newest run under `root` (by its name, which begins with its time).

    Raises:
        HistoryError: there is none.
    """
    found = sorted((p.parent.parent.parent for p in root.glob("*/scenarios/*/*.json*")), key=lambda p: p.name)
    if not found:
        raise HistoryError("no run found", where=str(root), fix="run the scenarios, or name a run directory")
    return found[-1]


def save_result(path: Path, name: str, result: ScenarioResult) -> Path:
    """Write a scenario's result.json beside its history."""
    file = path / "scenarios" / name / "result.json"
    _save(file, json.dumps(result.to_json(), indent=1))
    return file


def write_json(path: Path, results: Sequence[ScenarioResult], info: Mapping[str, Any], gate: GateResult | None) -> Path:
    """Write results.json; its schema is docs/reference/results-schema.json."""
    stats = aggregate(f for r in results for f in r.figures)
    data = {
        "schema": SCHEMA,
        "run": dict(info),
        "verdict": merge(r.verdict for r in results).name,
        "gate": gate.to_json() if gate else None,
        "figures": {name: s.to_json() for name, s in stats.items()},
        "scenarios": [r.to_json() for r in results],
    }
    _save(path / "results.json", json.dumps(data, indent=1))
    return path / "results.json"


def write_junit(path: Path, results: Sequence[ScenarioResult], info: Mapping[str, Any]) -> Path:
    """Write junit.xml: one suite a scenario, one case a clause; FAIL is a failure, UNKNOWN an error."""
    suites = [_suite(r) for r in results]
    suites += _extra("skipped", list(info.get("skipped") or ()))
    suites += _extra("broken", list(info.get("broken") or ()))
    cases = [f for r in results for f in r.findings]
    counts = (
        f'tests="{len(cases) + len(info.get("skipped") or ()) + len(info.get("broken") or ())}" '
        f'failures="{_count(cases, Verdict.FAIL)}" '
        f'errors="{_count(cases, Verdict.UNKNOWN) + len(info.get("broken") or ())}" '
        f'skipped="{len(info.get("skipped") or ())}"'
    )
    head = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name={quoteattr(str(info.get("run", "run")))} {counts}>\n'
    )
    _save(path / "junit.xml", head + "\n".join(suites) + "\n</testsuites>\n")
    return path / "junit.xml"


def _suite(r: ScenarioResult) -> str:
    share_s = r.duration_s / max(len(r.findings), 1)
    test = str(r.about.get("test") or r.scenario)
    head = (
        f'<testsuite name={quoteattr(r.scenario)} tests="{len(r.findings)}" '
        f'failures="{_count(r.findings, Verdict.FAIL)}" errors="{_count(r.findings, Verdict.UNKNOWN)}" skipped="0" '
        f'time="{r.duration_s:.3f}" timestamp="{utc_text(float(r.about.get("start_wall_s") or 0))[:19]}">'
    )
    file = quoteattr(test.partition("::")[0])
    cases = [
        f"  <testcase classname={quoteattr(r.scenario)} name={quoteattr(f.clause)} file={file} "
        f'time="{share_s:.3f}">{_outcome(f)}</testcase>'
        for f in r.findings
    ]
    return "\n".join([head, *cases, "</testsuite>"])


def _outcome(f: Finding) -> str:
    if f.verdict is Verdict.PASS:
        return f"<system-out>{_text(f.why)}</system-out>"
    tag, kind = ("failure", "FAIL") if f.verdict is Verdict.FAIL else ("error", "UNKNOWN")
    lines = [f.why, *(f"{'' if e.t_s is None else f'{e.t_s:.1f} s '}{e.text}" for e in f.evidence[:20])]
    return f'<{tag} type="{kind}" message={quoteattr(_clean(f.why))}>{_text(chr(10).join(lines))}</{tag}>'


def _extra(what: str, items: Sequence[Mapping[str, Any]]) -> list[str]:
    if not items:
        return []
    tag = "skipped" if what == "skipped" else "error"
    cases = [
        f"  <testcase classname={quoteattr(what)} name={quoteattr(str(i.get('test')))}>"
        f"<{tag} message={quoteattr(_clean(str(i.get('why'))))}/></testcase>"
        for i in items
    ]
    counts = f'tests="{len(items)}" failures="0" errors="{0 if tag == "skipped" else len(items)}"'
    head = f'<testsuite name="{what}" {counts} skipped="{len(items) if tag == "skipped" else 0}">'
    return [head, *cases, "</testsuite>"]


def _count(findings: Sequence[Finding], verdict: Verdict) -> int:
    return sum(f.verdict is verdict for f in findings)


def _clean(text: str) -> str:
    """Without the control characters that XML 1.0 forbids (logs have them)."""
    return "".join(
        c if c in "\t\n" or (ord(c) >= 32 and not 0xD800 <= ord(c) <= 0xDFFF and ord(c) < 0xFFFE) else "?" for c in text
    )


def _text(text: str) -> str:
    return escape(_clean(text))


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as err:
        raise HistoryError("a file of the run cannot be read", where=str(path), last=err) from err
    if not isinstance(data, dict):
        raise HistoryError("a file of the run is not an object", where=str(path))
    return data


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(path.suffix + ".tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
