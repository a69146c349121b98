"""Backward bounds without a ball are CROWN's, and with one they are no worse."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convsv_cli.local.backward import improved, lower_bounds
from convsv_cli.local.choices import crown_choices, first_choices
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball
from convsv_cli.local.propagation import places
from convsv_cli.local.rows import Rows, samples_of
from tests.support.local_nets import Net, own_norms

WIDTHS = (6, 8, 7, 4)


def chain(seed: int) -> Net:
    net = Net(seed, (1, WIDTHS[0]))
    for a, b in pairwise(WIDTHS):
        net.add("Gemm", net.last, net.normal(b, a, scale=0.6), net.normal(b), shape=(1, b), transB=1)
        if b != WIDTHS[-1]:
            net.add("Relu", net.last)
    return net


def asked(net: Net, folder: Path, radius: float) -> tuple[Rows, dict[str, tuple[Tensor, Tensor]]]:
    """All logits at one sample, and the boxes of all tensors."""
    program = lowered(net.graph(folder), own_norms())
    x = torch.randn(1, 1, WIDTHS[0], dtype=torch.float64)
    found = places(program, Ball(x=x, radius=torch.tensor([radius], dtype=torch.float64)))
    count = WIDTHS[-1]
    direction = torch.eye(count, dtype=torch.float64)[:, None]
    rows = samples_of(program, found).rows(torch.zeros(count, dtype=torch.int64), direction)
    return rows, {name: (place.low[0, 0], place.high[0, 0]) for name, place in found.items()}


def crown(net: Net, rows: Rows, boxes: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """By dense matrices, from the last layer to the first."""
    a, total = torch.eye(WIDTHS[-1], dtype=torch.float64), torch.zeros(WIDTHS[-1], dtype=torch.float64)
    for node in reversed(net.nodes):
        if node.op_type == "Gemm":
            weight, bias = (torch.from_numpy(net.weights[name]).double() for name in node.input[1:])
            total, a = total + a @ bias, a @ weight
        else:
            low, high = boxes[node.input[0]]
            high, low = high.clamp_min(0), low.clamp_max(0)
            slope = high / (high - low)
            flat = (high > -low).double()
            total = total - (a.clamp_max(0) * slope * low).sum(1)
            a = a.clamp_min(0) * flat + a.clamp_max(0) * slope
    return total + a @ rows.x[0, 0] - rows.radius * a.norm(dim=1)


@pytest.mark.parametrize("seed", range(10))
def test_no_ball_and_fixed_slopes_are_crown(seed: int, tmp_path: Path) -> None:
    net = chain(seed)
    rows, boxes = asked(net, tmp_path, radius=0.5)
    assert lower_bounds(rows, crown_choices(rows)) == pytest.approx(crown(net, rows, boxes), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_a_search_never_proves_less(seed: int, tmp_path: Path) -> None:
    rows, _ = asked(chain(seed), tmp_path, radius=0.5)
    start = first_choices(rows)
    first = lower_bounds(rows, start)
    some, few = improved(rows, start, 5)
    _, more = improved(rows, some, 30)
    assert (few >= first).all()
    assert (more >= few).all()
    assert (more > first + 1e-3).any()
