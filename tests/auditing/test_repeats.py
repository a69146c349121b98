"""Equal layers are measured once, and have the rows that each would have alone."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convsv_cli import api
from convsv_cli.auditing import ahead
from convsv_cli.auditing.repeats import Repeats
from convsv_cli.report import Audit, LayerAudit
from tests.support.on_cores import on_cores

MEASURING = importlib.import_module("convsv_cli.auditing.measure")
SIZE = 13


@pytest.fixture(params=[1, 2])
def several_cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with on_cores(request.param, monkeypatch):
        yield


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Three equal blocks of two layers; their first layer also in another type, and transposed."""
    draws = torch.Generator().manual_seed(0)
    first, second = (torch.randn(12, 12, 3, 3, generator=draws) for _ in range(2))
    weights = {f"block{i}.{n}.weight": w.clone() for i in range(3) for n, w in (("a", first), ("b", second))}
    others = {"double.weight": first.double(), "turned.weight": first.mT.contiguous()}
    torch.save(weights | others | {"bad.weight": torch.full((4, 4, 3, 3), torch.nan)}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the layers that are measured."""
    names: list[str] = []
    honest = MEASURING._computed

    def counted(task: Any, *given: Any) -> LayerAudit:
        names.append(task.layer.name)
        return honest(task, *given)

    monkeypatch.setattr(MEASURING, "_computed", counted)
    return names


def timeless(audit: Audit) -> tuple[Any, ...]:
    rows = []
    for row in audit.layers:
        measured = tuple((name, replace(found, seconds=0.0)) for name, found in row.measurements)
        rows.append(replace(row, measurements=measured))
    return (*rows, audit.network, audit.findings)


@pytest.mark.usefixtures("several_cores")
def test_equal_layers_are_measured_once(
    model: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = api.audit(model, exact=True, input_size=SIZE)
    assert len(computed) == 4, "the two of a block, and two that look like one of them"
    computed.clear()
    monkeypatch.setattr(Repeats, "row", lambda *_: None)
    assert timeless(found) == timeless(api.audit(model, exact=True, input_size=SIZE))
    assert len(computed) == 8


@pytest.mark.parametrize("steps", [2e6, 5e6, 1e7])
@pytest.mark.usefixtures("several_cores")
def test_where_steps_are_few_each_layer_has_what_it_would_have_alone(
    model: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, steps: float
) -> None:
    found = timeless(api.audit(model, step_limit=steps))
    assert any("--step-limit" in f"{row.assumed}{row.reason}" for row in found[:-2]), "some were cut short"
    assert len(computed) > 4, "and so are no other's"
    monkeypatch.setattr(Repeats, "row", lambda *_: None)
    assert found == timeless(api.audit(model, step_limit=steps))
    monkeypatch.setattr(ahead, "_chosen", lambda _tasks: [])
    assert found == timeless(api.audit(model, step_limit=steps)), "whichever core is faster"


def test_equal_weights_in_another_place_are_other_layers(
    tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    convs = [nn.Conv2d(4, 4, 3, **given) for given in ({}, {"padding": 1}, {"dilation": 2}, {"padding": 1})]
    for conv in convs[1:]:
        conv.load_state_dict(convs[0].state_dict())
    torch.save(nn.Sequential(*convs), tmp_path / "model.pt")
    found = api.audit(tmp_path / "model.pt", exact=True, input_size=SIZE, layers=("*",))
    assert computed == ["0", "1", "2"]
    monkeypatch.setattr(Repeats, "row", lambda *_: None)
    assert timeless(found) == timeless(
        api.audit(tmp_path / "model.pt", exact=True, input_size=SIZE, layers=("*",))
    )
