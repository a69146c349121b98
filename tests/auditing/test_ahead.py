"""Layers that are measured ahead, on several cores, have the rows that their turn would give them."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convsv_cli import api, deadline
from convsv_cli.auditing import ahead
from convsv_cli.auditing.plan import plan
from convsv_cli.loaders import load
from convsv_cli.report import AUDITED, NOT_REACHED, Audit, LayerAudit, Settings
from tests.support.on_cores import on_cores

AUDITING = importlib.import_module("convsv_cli.auditing")


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on most machines; all other tests have one."""
    with on_cores(2, monkeypatch):
        yield


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Kernels with flat symbols, for which searches take what they may, and one that is no kernel."""
    draws = torch.Generator().manual_seed(0)
    weights = {f"layer{i}.weight": torch.randn(16, 16, 3, 3, generator=draws) for i in range(6)}
    torch.save(weights | {"bad.weight": torch.full((4, 4, 3, 3), torch.nan)}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def timeless(audit: Audit) -> tuple[Any, ...]:
    rows = []
    for row in audit.layers:
        measured = tuple((name, replace(found, seconds=0.0)) for name, found in row.measurements)
        rows.append(replace(row, measurements=measured))
    return (*rows, audit.status)


@pytest.mark.parametrize("steps", [None, 2e6, 2e7])
def test_rows_are_those_of_their_turn_whatever_the_model_may_take(
    model: Path, monkeypatch: pytest.MonkeyPatch, steps: float | None
) -> None:
    counted: list[bool] = []
    counts = ahead._counts
    monkeypatch.setattr(ahead, "_counts", lambda *given: counted.append(counts(*given)) or counted[-1])
    found = timeless(api.audit(model, step_limit=steps))
    assert len(counted) == 7, "all were tried"
    assert all(counted) is (steps is None)
    monkeypatch.setattr(ahead, "_chosen", lambda _tasks: [])
    assert found == timeless(api.audit(model, step_limit=steps))


def test_larger_layers_are_measured_side_by_side_where_every_core_has_some(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = plan(load(model), Settings())
    monkeypatch.setattr(ahead, "SMALL", 100)  # all but the one of 144 entries have 2,304
    assert len(ahead._chosen(tasks)) == len(tasks) == 7
    assert ahead._chosen(tasks[:3]) == []
    monkeypatch.setattr(ahead, "LARGE", 200)
    assert ahead._chosen(tasks) == []


def test_after_ctrl_c_rows_of_other_cores_are_kept(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = signal.signal(signal.SIGINT, signal.default_int_handler)
    main, here, over = threading.main_thread(), threading.Barrier(2, timeout=60), threading.Event()
    measure = AUDITING.measure

    def interrupted(*given: Any) -> LayerAudit:
        if threading.current_thread() is not main:
            if not over.is_set():
                here.wait()
            return measure(*given)
        here.wait()
        over.set()
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    monkeypatch.setattr(AUDITING, "measure", interrupted)
    with deadline.running():
        audit = api.audit(model)
    signal.signal(signal.SIGINT, known)
    assert audit.status == deadline.INTERRUPTED
    reached = [row for row in audit.layers if row.reason != NOT_REACHED]
    assert len(reached) == 1, "the other core began no further layer"
    assert reached[0].status == AUDITED
