"""Checkpoints as trainings leave them: complete where all else is told by its structure, open where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convsv_cli import load
from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint import search

State = dict[str, torch.Tensor]
WEIGHTS = ["0.weight", "1.weight"]
MODEL = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
NET = MODEL.state_dict()


def copy() -> State:
    return {name: tensor + 1 for name, tensor in NET.items()}


def adam() -> dict[str, Any]:
    optimiser = torch.optim.Adam(MODEL.parameters())
    MODEL(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


def saved(value: Any, folder: Path) -> Path:
    torch.save(value, folder / "model.pt")
    return folder / "model.pt"


SLOTS = [{"grad_avg": torch.ones(4, 3), "sqr_avg": torch.ones(4, 3), "step": 3}, {}]
MASTERS = [[tensor + 0 for tensor in NET.values()]]
PREFIXED = {f"model.{name}": tensor for name, tensor in copy().items()}
COMPLETE: dict[str, dict[str, Any]] = {
    "fastai": {"model": NET, "opt": {"state": SLOTS, "hypers": [{"lr": 0.1}]}},
    "apex": {"model": NET, "optimizer": {"optimizer_state_dict": adam(), "fp32_groups": MASTERS}},
    "Megatron": {"model": NET, "optimizer": {"optimizer": adam(), "fp32_from_fp16_params": MASTERS}},
    "fairseq": {"model": NET, "extra_state": {"ema": copy(), "epoch": 1}, "last_optimizer_state": adam()},
    "ema-pytorch": {
        "model": NET,
        "ema": {"step": torch.tensor(1), **{f"ema_model.{n}": t for n, t in copy().items()},
                **{f"online_model.{n}": t for n, t in NET.items()}},
    },
    "Lightning": {"state_dict": NET, "callbacks": {"EMACallback": {"ema_state_dict": PREFIXED}}},
    "a list": {"state_dict": NET, "callbacks": {"EMA": {"ema_weights": [t + 0 for t in NET.values()]}}},
    "GAN": {"G": NET, "G_ema": copy(), "opt_G": adam()},
}  # fmt: skip


@pytest.mark.parametrize("kind", COMPLETE)
def test_ordinary_checkpoints_are_complete(kind: str, tmp_path: Path) -> None:
    network = load(saved(COMPLETE[kind], tmp_path))
    assert [row.weight.removeprefix("G.") for row in network.layers] == WEIGHTS
    assert network.left_out == ()
    assert all("optimiser" in note or "averages" in note for note in network.notes)
    assert network.notes


OPEN: dict[str, Callable[[], dict[str, Any]]] = {
    "a network beside the state": lambda: {**adam(), "net": copy()},
    "of other shapes": lambda: {**adam(), "masters": [torch.ones(9, 9)]},
    "in the groups": lambda: {"state": {}, "param_groups": [{"params": [0], "w": torch.ones(2, 2)}]},
    "a network beside an optimiser": lambda: {"optimizer": adam(), "net": copy()},
    "copies without any optimiser": lambda: {"fp32_groups": MASTERS},
}


@pytest.mark.parametrize("kind", OPEN)
@pytest.mark.parametrize("key", ["optimizer", "x"])
def test_networks_in_optimisers_are_not_lost(kind: str, key: str, tmp_path: Path) -> None:
    network = load(saved({"model": NET, key: OPEN[kind]()}, tmp_path))
    assert len(network.left_out) == 1
    assert network.left_out[0].startswith(f"also holds {key!r}: not audited (")


def test_another_part_of_the_network_is_no_average(tmp_path: Path) -> None:
    """Its name has the word, but `avg_head` is no average of `fc`."""
    value = {"fc.weight": torch.ones(3, 4), "avg_head.fc.weight": torch.ones(3, 4) * 100}
    network = load(saved(value, tmp_path))
    assert [row.weight for row in network.layers] == list(value)
    value = {"head.fc.weight": torch.ones(3, 4), "avg_head.fc.weight": torch.ones(3, 4)}
    assert [row.weight for row in load(saved(value, tmp_path)).layers] == ["head.fc.weight"]


def test_optimisers_that_share_what_they_hold_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A thousand optimisers each hold the same thousand lists: a million steps in some kilobytes."""
    monkeypatch.setattr(search, "MAX_VISITS", 100_000)
    shared = [*([number] for number in range(1000)), torch.ones(2, 2)]
    for inside in (shared, {"state": {}, "param_groups": [], "rest": shared}):
        value = {"a.weight": torch.ones(2, 2), **{f"optimizer_{number}": inside for number in range(1000)}}
        with pytest.raises(UnsafeModelError, match="without end"):
            load(saved(value, tmp_path))
