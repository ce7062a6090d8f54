"""docs/reference/history.md names every record that the code writes, and every field of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "history.md"
OF_THE_RECORD = {"t_s", "err_s"}

Written = tuple[str, str, frozenset[str]]  # source, event, fields


def written() -> Iterator[Written]:
    """What each call of `mark` with a literal source and event writes."""
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "mark"):
                continue
            names = [a.value for a in node.args if isinstance(a, ast.Constant)]
            if len(names) == 2:
                yield names[0], names[1], frozenset(k.arg for k in node.keywords if k.arg) - OF_THE_RECORD


def documented() -> dict[tuple[str, str], str]:
    """The line of the page for each source and event."""
    found: dict[tuple[str, str], str] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if len(cells) >= 3:
            for event in re.findall(r"`(\w+)`", cells[1]):
                found[cells[0], event] = line
    return found


@pytest.mark.parametrize(
    "record", sorted(written(), key=lambda w: (w[0], w[1], sorted(w[2]))), ids=lambda w: "/".join(w[:2])
)
def test_a_record_is_documented_with_its_fields(record: Written) -> None:
    source, event, fields = record
    line = documented().get((source, event))
    assert line, f"{source}/{event} is not on the page"
    missing = [f for f in sorted(fields) if not re.search(rf"\b{f}\b", line)]
    assert not missing, f"{source}/{event}: {missing} not on the page"


@pytest.mark.parametrize(
    ("source", "event", "facts"),
    [
        ("k8s", "pod", "pod_facts"),
        ("k8s", "deployment", "deployment_facts"),
        ("k8s", "node", "node_facts"),
        ("argocd", "app", "app_facts"),
    ],
)
def test_the_facts_of_an_object_are_documented(source: str, event: str, facts: str) -> None:
    path = ROOT / "harness" / "observe" / f"{source}.py"
    functions = [n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)]
    returned = next(n.value for f in functions if f.name == facts for n in ast.walk(f) if isinstance(n, ast.Return))
    assert isinstance(returned, ast.Dict)
    keys = {k.value for k in returned.keys if isinstance(k, ast.Constant)}
    line = documented()[source, event]
    assert [k for k in sorted(keys) if not re.search(rf"\b{k}\b", line)] == []
