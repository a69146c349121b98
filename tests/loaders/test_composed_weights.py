"""Checkpoints whose weights are made of other tensors: quantised, packed by torch.ao, sparse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.ao import quantization

from convsv_cli import load
from convsv_cli.model.layer import Layer

NORMAL = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore")
State = dict[str, torch.Tensor]


def quantised() -> State:
    return {
        "a.weight": torch.quantize_per_tensor(NORMAL, 0.02, 10, torch.quint8),
        "b.weight": torch.quantize_per_tensor(NORMAL, 0.001, 0, torch.qint32),
        "c.weight": torch.quantize_per_channel(
            NORMAL, torch.full((6,), 0.01), torch.arange(6), 0, torch.qint8
        ),
        "d.weight": torch.quantize_per_channel(
            NORMAL, torch.rand(5) / 50 + 0.01, torch.rand(5), 1, torch.quint8
        ),
    }


THIN = NORMAL.relu()[:, :4]


def sparse() -> State:
    return {
        "coo.weight": THIN.to_sparse(),
        "csr.weight": THIN.to_sparse_csr(),
        "csc.weight": THIN.to_sparse_csc(),
        "bsr.weight": THIN.to_sparse_bsr((2, 4)),
        "bsc.weight": THIN.to_sparse_bsc((3, 2)),
        "twice.weight": torch.sparse_coo_tensor([[1, 0, 1], [2, 1, 2]], [1.0, 2.0, 5.0], (3, 4)),
        "taps.weight": torch.ones(3, 2, 3, 3).to_sparse(2),
        "none.weight": torch.zeros(3, 4).to_sparse_csr(),
    }


def rows(value: object, folder: Path) -> dict[str, torch.Tensor]:
    torch.save(value, folder / "model.pt")
    network = load(folder / "model.pt")
    assert network.left_out == ()
    return {row.weight: row.read().clone() for row in network.layers if isinstance(row, Layer)}


def check(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-6, atol=1e-6)


def test_quantised_tensors_are_what_torch_dequantises(tmp_path: Path) -> None:
    state = quantised()
    check(rows(state, tmp_path), {name: value.dequantize() for name, value in state.items()})


def test_sparse_tensors_are_what_torch_unfolds(tmp_path: Path) -> None:
    """In every layout; values of one entry are added where torch adds them."""
    state = sparse()
    check(rows(state, tmp_path), {name: value.to_dense() for name, value in state.items()})


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.gates = nn.LSTM(4, 6, bidirectional=True)
        self.fc = nn.Linear(6, 5)
        self.cell = nn.GRUCell(4, 6)


def dynamic() -> nn.Module:
    return quantization.quantize_dynamic(Net(), {nn.Linear, nn.LSTM, nn.GRUCell}, dtype=torch.qint8)


def static() -> nn.Module:
    net = nn.Sequential(
        quantization.QuantStub(), nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 5)
    ).eval()
    net.qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)
    prepared = quantization.prepare(net)
    prepared(torch.randn(2, 3, 8, 8))
    return quantization.convert(prepared)


@pytest.mark.parametrize("is_module", [False, True])
def test_packed_parameters_are_the_weights_of_their_modules(is_module: bool, tmp_path: Path) -> None:
    nets = dynamic(), static()
    found = [rows(net if is_module else net.state_dict(), tmp_path) for net in nets]
    net, fixed = nets
    sides = {
        f"gates._all_weight_values.{number}.{side}": value.dequantize()
        for number, cell in enumerate(net.gates._all_weight_values)
        for side, value in zip(
            ("weight_ih", "weight_hh"),
            (packed.__getstate__()[0][0] for packed in cell.param.__getstate__()[0][4]),
            strict=True,
        )
    }
    gates = {f"cell.{name}": value.dequantize() for name, value in net.cell.get_weight().items()}
    whole = {"conv.weight": net.conv.weight, **sides, "fc.weight": net.fc.weight().dequantize(), **gates}
    check(found[0], {name: value.detach() for name, value in whole.items()})
    assert list(found[1]) == ["1.weight", "3.weight"]
    check(found[1], {f"{i}.weight": fixed[i].weight().dequantize() for i in (1, 3)})


def test_settings_of_a_quantised_convolution_are_its_geometry(tmp_path: Path) -> None:
    torch.save(static(), tmp_path / "model.pt")
    row = load(tmp_path / "model.pt").layers[0]
    assert isinstance(row, Layer)
    assert (row.geometry.stride, row.assumed) == (
        (2, 2),
        ("dequantised weights: qint8 values with their scale",),
    )


def changed(layout: str, part: int, change: Callable[[torch.Tensor], object]) -> torch.Tensor:
    """A sparse tensor, one part of which is edited in place, behind torch's back."""
    value = sparse()[layout].clone()
    parts = {
        "coo.weight": lambda: (value._indices(), value._values()),
        "csr.weight": lambda: (value.crow_indices(), value.col_indices(), value.values()),
    }
    change(parts[layout]()[part])
    return value


ODD: list[tuple[Callable[[], torch.Tensor], str]] = [
    (lambda: changed("coo.weight", 0, lambda i: i[1, 0].fill_(4)), "out of range"),
    (lambda: changed("coo.weight", 0, lambda i: i[0, 0].fill_(-1)), "out of range"),
    (lambda: changed("csr.weight", 1, lambda i: i[0].fill_(1 << 60)), "out of range"),
    (lambda: changed("csr.weight", 0, lambda i: i[1].fill_(1 << 60)), "no beginning or end"),
    (lambda: changed("csr.weight", 0, lambda i: i[0].fill_(-1)), "no beginning or end"),
    (lambda: changed("csr.weight", 1, lambda i: i[:2].fill_(0)), "two values for one entry"),
    (lambda: torch.sparse_coo_tensor([[0], [0]], [1.0], (1 << 30, 1 << 30)), "too many to unfold"),
    (lambda: torch.stack([THIN, THIN]).to_sparse_csr(), "in a batch"),
    (lambda: torch.quantize_per_channel(NORMAL, torch.ones(6), torch.rand(6), 0, torch.quint4x2), "a scheme"),
]


@pytest.mark.parametrize(
    ("make", "fragment"), ODD, ids=[f"{fragment} {i}" for i, (_, fragment) in enumerate(ODD)]
)
def test_parts_that_make_no_weight_are_a_reason(
    make: Callable[[], torch.Tensor], fragment: str, tmp_path: Path
) -> None:
    torch.save({"a.weight": make()}, tmp_path / "model.pt")
    (row,) = load(tmp_path / "model.pt").layers
    assert fragment in getattr(row, "reason", "")
