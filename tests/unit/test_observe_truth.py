"""Calibration: observers, and how their truth is compared with what the recorders wrote."""

from pathlib import Path

import pytest
from observe_fakes import Notebook, serving

from harness._wait import Budget, wait_for
from harness.history import read_history
from harness.observe._http import Endpoint
from harness.observe.truth import (
    API_RUNG,
    USER_RUNG,
    DeploymentObserver,
    calibrate,
    changes,
    offsets,
    outages,
    table,
)

PATH = "/apis/apps/v1/namespaces/shop/deployments/cart"


def deployment(available: int) -> dict[str, dict[str, int]]:
    return {"spec": {"replicas": 1}, "status": {"availableReplicas": available}}


def test_an_observer_writes_changes_and_takes_silence_for_bad(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path)
    with serving() as server:
        server.answers[PATH] = deployment(1)
        observer = DeploymentObserver(Endpoint(server.url), "shop", "cart")
        observer.start(notebook.history)

        def seen(*goods: bool) -> None:
            wait_for(
                "what it saw",
                lambda: [f["good"] for f in notebook.facts("calibration", "truth")],
                lambda have: have == list(goods),
                Budget(3, every_s=0.01),
            )

        seen(True)
        server.answers[PATH] = deployment(0)
        seen(True, False)
        server.answers[PATH] = deployment(1)
        seen(True, False, True)
        server.status[PATH] = 503
        seen(True, False, True, False)
        observer.stop()
        assert observer.join(3)
        assert observer.error is None
    notebook.history.close()


def test_only_turns_are_changes() -> None:
    assert changes([(0, True), (1, True), (2, False), (3, False), (4, True)]) == [(2, False), (4, True)]
    assert changes([(0, False)]) == []


def test_the_nearest_same_change_counts_and_others_do_not() -> None:
    truth = [(10.0, False), (20.0, True), (30.0, False)]
    mine = [(10.25, False), (19.5, True), (19.75, False), (20.5, True)]
    assert offsets(mine, truth) == [0.25, -0.5]


def test_outages_that_are_close_together_are_one() -> None:
    states = [(0.0, True), (1.0, False), (2.0, True), (2.5, False), (4.0, True), (9.0, False), (10.0, True)]
    assert outages(states) == [3.0, 1.0]
    assert outages([(0.0, True), (1.0, False)]) == []


def test_the_table_shows_a_late_recorder(tmp_path: Path) -> None:
    history = Notebook(tmp_path).history
    for t_s, good in ((1.0, True), (5.0, False), (8.0, True)):
        history.mark("calibration", "truth", t_s=t_s, rung=API_RUNG, good=good)
        history.mark("calibration", "truth", t_s=t_s, rung=USER_RUNG, good=good)
        history.mark("k8s", "deployment", t_s=t_s + 0.5, name="cart", desired=1, available=int(good))
        history.mark("k8s", "deployment", t_s=t_s, name="other", desired=1, available=0)
        history.mark("probe", "request", t_s=t_s + (0.25 if good else 0.0), ok=good)
    history.close()
    api, users, length = table(read_history(history.path), "cart")
    assert (api["n"], api["median_s"], api["worst_s"]) == (2, 0.5, 0.5)
    assert (users["n"], users["worst_s"]) == (2, 0.25)
    assert (length["n"], length["median_s"]) == (1, 0.25)


def test_nothing_compared_is_nothing_shown(tmp_path: Path) -> None:
    history = Notebook(tmp_path).history
    history.close()
    assert all(row["n"] == 0 and row["median_s"] is None for row in table(read_history(history.path), "cart"))


def test_observers_stop_when_the_disturbance_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(tmp_path)
    monkeypatch.setattr("harness.observe.truth.CLOCK.sleep", lambda _: None, raising=True)
    with serving() as server:
        server.answers[PATH] = deployment(1)
        observer = DeploymentObserver(Endpoint(server.url), "shop", "cart")
        with pytest.raises(ZeroDivisionError):
            calibrate(notebook.history, [observer], (1 // 0 for _ in range(1)), 0.0)  # type: ignore[misc]
        assert observer.join(1)
    notebook.history.close()
