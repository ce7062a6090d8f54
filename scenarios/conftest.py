"""Scenarios run on a platform: it is provisioned once, before the workers start."""

from __future__ import annotations

import pytest

from fixtures import provisioning


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Most of a scenario is waiting, so more workers than cores pays; each has Boutiques of its own."""
    return 3


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Provision in the controller; workers find it done."""
    if not provisioning.is_worker(session.config) and not session.config.option.collectonly:
        provisioning.start(session.config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this provider cannot do."""
    provisioning.skip_impossible(items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report."""
    if provisioning.is_worker(session.config):
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    stats = terminal.stats if terminal else {}
    skipped = [{"test": r.nodeid, "why": str(r.longrepr[-1])} for r in stats.get("skipped", [])]
    broken = [{"test": r.nodeid, "why": r.longreprtext.strip().splitlines()[-1]} for r in stats.get("error", [])]
    page = provisioning.finish(session.config, skipped, broken)
    if page is not None and terminal:
        terminal.write_line(f"\nreport: {page}")
