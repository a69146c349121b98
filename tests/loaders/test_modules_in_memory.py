"""Modules in memory are audited as their files are, and are left as they were."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations, parametrize

from convsv_cli import Audit, ConvsvError, audit, limit_norm, network_bound, spectral_norm
from convsv_cli.report import AUDITED, QUICK, LayerAudit
from tests.support.exported_programs import exported
from tests.support.torch_networks import networks

SOME = ("conv", "lstm", "vision transformer")


def rows(found: Audit) -> list[LayerAudit]:
    """Without how long each took."""
    return [
        replace(
            row, measurements=tuple((name, replace(each, seconds=0.0)) for name, each in row.measurements)
        )
        for row in found.layers
    ]


@pytest.mark.parametrize("name", [name for name in networks() if name != "weight norm"])
def test_without_an_example_the_rows_are_those_of_the_pickled_module(name: str, tmp_path: Path) -> None:
    """Torch pickles no parametrised module."""
    module = networks()[name][0]
    path = tmp_path / "module.pt"
    torch.save(module, path)
    there, here = audit(path, network_effort=QUICK), audit(module, network_effort=QUICK)
    assert rows(here) == rows(there)
    assert any(row.status == AUDITED for row in here.layers)
    assert here.bound.lipschitz == there.bound.lipschitz
    assert (here.model.path, here.model.format) == (type(module).__name__, "module")


@pytest.mark.parametrize(
    "name",
    [name if name in SOME else pytest.param(name, marks=pytest.mark.exhaustive) for name in networks()],
)
def test_with_an_example_all_is_that_of_the_saved_program(name: str, tmp_path: Path) -> None:
    module, x = networks()[name]
    path = exported(module, [x], tmp_path / "module.pt2")
    module.train()
    there, here = (
        audit(path, network_effort=QUICK),
        audit(module, example_input=x, network_effort=QUICK),
    )
    assert rows(here) == rows(there)
    assert here.bound.lipschitz == there.bound.lipschitz
    assert module.training


def test_every_way_to_call_a_module_gives_the_same_bound() -> None:
    module, x = networks()["residual"]
    found = {network_bound(module, given, effort=QUICK).lipschitz for given in (x, (x,), {"input": x})}
    assert len(found) == 1
    assert 0 < found.pop() < float("inf")


def test_modes_and_weights_are_as_they_were() -> None:
    module = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), parametrizations.spectral_norm(nn.Linear(4, 4))
    )
    module.train()
    module[1].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    audit(module)
    audit(module, example_input=torch.zeros(2, 4))
    assert [each.training for each in module] == [True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert module[0].weight.requires_grad


class Doubled(nn.Module):
    """A parametrization that no file could tell of."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


PARAMETRISED: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "limit_norm": lambda layer: limit_norm(layer, 0.5),
    "one's own": lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()),
}


@pytest.mark.parametrize("kind", PARAMETRISED)
def test_parametrised_weights_are_what_the_module_multiplies_by(kind: str) -> None:
    layer = PARAMETRISED[kind](nn.Linear(5, 4)).eval()
    (row,) = audit(nn.ModuleDict({"layer": layer})).layers
    assert row.name == "layer"
    certified = row.measurement("certified")
    assert certified is not None
    assert certified.value == pytest.approx(torch.linalg.matrix_norm(layer.weight, 2).item(), rel=1e-6)


def test_tied_weights_are_one_row_and_wrappers_have_no_part_in_names() -> None:
    inner = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    inner[1].weight = inner[0].weight
    (row,) = audit(nn.DataParallel(inner)).layers
    assert (row.name, row.aliases) == ("0", ("1.weight",))


def test_sparse_and_quantised_weights_count_by_their_values(tmp_path: Path) -> None:
    weight = torch.zeros(3, 3).index_put(
        (torch.tensor([0, 2]), torch.tensor([1, 2])), torch.tensor([3.0, -4.0])
    )
    sparse, entries = nn.Module(), nn.Module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse.weight = nn.Parameter(weight.to_sparse_csr())
        entries.weight = nn.Parameter(weight.to_sparse())
        quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8)))
    scaled = torch.linalg.matrix_norm(quantised[0].weight().dequantize(), 2).item()
    torch.save(quantised, path := tmp_path / "quantised.pt")
    (row,), (there,) = audit(quantised).layers, audit(path).layers
    assert (row.weight_sha256, row.dtype) == (there.weight_sha256, there.dtype)
    for module, truth in ((sparse, 4.0), (entries, 4.0), (quantised, scaled)):
        (row,) = audit(module, as_layer=["*"]).layers
        certified = row.measurement("certified")
        assert certified is not None, row.reason
        assert certified.value == pytest.approx(truth, rel=1e-6)


def test_what_cannot_be_audited_says_why() -> None:
    x = torch.zeros(1, 3)
    (row,) = audit(nn.Sequential(nn.LazyLinear(3))).layers
    assert "run the model on a batch first" in row.reason
    with pytest.raises(ConvsvError, match=r"torch\.export does not follow this module: [a-z]"):
        audit(nn.Linear(4, 2), example_input=x)
    with pytest.raises(ConvsvError, match="takes no graph"):
        audit(nn.Linear(4, 2), graph="model.onnx")
    with pytest.raises(ConvsvError, match="needs no example_input"):
        audit("model.onnx", example_input=x)
    with pytest.raises(ConvsvError, match="no weights"):
        audit(nn.ReLU())
    assert "pass example_input" in audit(nn.ModuleList([nn.Linear(3, 3)])).bound.reason
    for add in (nn.Sequential.register_forward_hook, lambda _, hook: register_module_forward_hook(hook)):
        module = nn.Sequential(nn.Linear(3, 3))
        handle = add(module, lambda _module, _inputs, result: 10 * result)
        try:
            assert audit(module).bound.status != "bounded"
        finally:
            handle.remove()


def test_the_norm_of_a_layer_is_that_of_its_weight_as_it_is_applied() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2)
    by_hand = {"stride": (2, 1), "groups": 2}
    assert spectral_norm(layer) == spectral_norm(layer.weight, **by_hand)
    assert spectral_norm(layer, input_size=6) == spectral_norm(
        layer.weight, input_size=6, padding=(1, 0), **by_hand
    )
    around = nn.Conv1d(3, 3, 3, padding=1, padding_mode="circular")
    assert spectral_norm(around, input_size=6) == spectral_norm(around.weight, input_size=6)
    limited = limit_norm(nn.Linear(5, 5), 0.5)
    assert spectral_norm(limited.eval()).upper <= 0.5
    with pytest.raises(ConvsvError, match="says itself"):
        spectral_norm(layer, stride=2)
    with pytest.raises(ConvsvError, match="not a Linear or convolution"):
        spectral_norm(nn.BatchNorm2d(3))
    with pytest.raises(ConvsvError, match="reflect"):
        spectral_norm(nn.Conv1d(3, 3, 3, padding=1, padding_mode="reflect"))
