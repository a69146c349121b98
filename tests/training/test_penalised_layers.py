"""Which weights of a model the penalty counts, and what it calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from convsv_cli import LipschitzPenalty, audit
from convsv_cli.errors import UsageError
from tests.support import oracles, trained

METHODS = ("singla-feizi", "heuristic", "certified")


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "Conv1D": (lambda: trained.Conv1D(9, 3), ("weight",)),
    "attention": (
        lambda: nn.MultiheadAttention(6, 2, add_bias_kv=True),
        ("in_proj_weight", "out_proj.weight"),
    ),
    "cross-attention": (
        lambda: nn.MultiheadAttention(6, 2, kdim=3, vdim=5),
        ("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"),
    ),
    "LSTM": (
        lambda: nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2),
        tuple(
            f"weight_{kind}_l{layer}{way}"
            for layer in range(2)
            for way in ("", "_reverse")
            for kind in ("ih", "hh", "hr")
        ),
    ),
    "GRU": (lambda: nn.GRU(1, 4), ("weight_ih_l0", "weight_hh_l0")),
    "RNN": (lambda: nn.RNN(3, 4, bias=False), ("weight_ih_l0", "weight_hh_l0")),
    "LSTMCell": (lambda: nn.LSTMCell(3, 4), ("weight_ih", "weight_hh")),
    "GRUCell": (lambda: nn.GRUCell(3, 4), ("weight_ih", "weight_hh")),
    "RNNCell": (lambda: nn.RNNCell(3, 4), ("weight_ih", "weight_hh")),
}


def named(parameters: tuple[str, ...]) -> list[str]:
    """As rows of an audit of a model in which the layer is called "it"."""
    return [f"it.{name}".removesuffix("_weight").removesuffix(".weight") for name in parameters]


def model_of(kind: str) -> tuple[nn.Module, list[nn.Parameter]]:
    """Of one layer, with random weights, and what is to be counted."""
    torch.manual_seed(3)
    make, parameters = LAYERS[kind]
    model = nn.ModuleDict({"it": make()}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model, [model.it.get_parameter(name) for name in parameters]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("method", METHODS)
def test_every_matrix_counts_and_has_the_gradient_of_its_norm(kind: str, method: str) -> None:
    """Of one axis all three are the spectral norm, whose gradient is u v^T."""
    model, weights = model_of(kind)
    penalty = LipschitzPenalty(model, method, tolerance=1e-12)
    for _ in range(30):
        value = penalty()
    truth = sum(oracles.spectral_norm(weight.detach().numpy()) for weight in weights)
    assert value.item() == pytest.approx(truth, rel=1e-9)
    assert list(penalty.norms()) == named(LAYERS[kind][1])
    value.backward()
    for weight in weights:
        u, _, vt = torch.linalg.svd(weight.detach())
        torch.testing.assert_close(weight.grad, torch.outer(u[:, 0], vt[0]), rtol=0, atol=1e-7)
    counted = set(map(id, weights))
    assert all(parameter.grad is None for parameter in model.parameters() if id(parameter) not in counted)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("whole", [False, True])
def test_an_audit_has_the_same_layers(kind: str, whole: bool, tmp_path: Path) -> None:
    """Whether of a state dict or of the pickled module: names and norms."""
    model, weights = model_of(kind)
    torch.save(model if whole else model.state_dict(), tmp_path / "model.pt")
    layers = audit(tmp_path / "model.pt").layers
    rows = {layer.name: layer.measurement("certified").enclosure for layer in layers}
    assert list(rows) == named(LAYERS[kind][1])
    for interval, weight in zip(rows.values(), weights, strict=True):
        truth = oracles.spectral_norm(weight.detach().numpy())
        assert interval.lower <= truth * (1 + 1e-12)
        assert truth * (1 - 1e-12) <= interval.upper <= truth * (1 + 1e-3)


class Masked(nn.Linear):
    """Called as a hook of torch would call it, which it is not."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.register_buffer("weight_mask", torch.ones(4, 3))


def test_a_mask_alone_is_no_pruning() -> None:
    model = nn.Sequential(Masked())
    truth = oracles.spectral_norm(model[0].weight.detach().numpy())
    assert LipschitzPenalty(model).layer_values()["0"] == pytest.approx(truth, rel=1e-5)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(0, 4), lambda: nn.Linear(4, 0), lambda: nn.Conv2d(2, 0, 3)]
)
@pytest.mark.parametrize("method", METHODS)
def test_a_layer_without_entries_adds_nothing(make: Callable[[], nn.Module], method: str) -> None:
    penalty = LipschitzPenalty(nn.ModuleDict({"it": make(), "fc": nn.Linear(2, 2)}), method)
    assert list(penalty.norms()) == ["fc"]
    assert not penalty.left_out


def test_a_layer_on_no_device_has_no_weight_yet() -> None:
    with pytest.raises(UsageError, match="no weight yet"):
        LipschitzPenalty(nn.Sequential(nn.Linear(2, 2, device="meta")))


def test_tied_weights_count_once_under_all_their_names() -> None:
    model = nn.ModuleDict({"emb": nn.Embedding(6, 4), "a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    model["head"], model["again"] = nn.Linear(4, 6), model.a
    model.head.weight, model.b.weight = model.emb.weight, model.a.weight
    penalty = LipschitzPenalty(model)
    assert not penalty.left_out
    assert sorted(penalty.norms()) == ["a", "head"]
    truth = sum(oracles.spectral_norm(w.detach().numpy()) for w in (model.a.weight, model.head.weight))
    assert penalty().item() == pytest.approx(truth, rel=1e-4)
    for name in ("b", "again"):
        assert list(LipschitzPenalty(model, exclude=[name]).norms()) == ["head"]
    assert list(LipschitzPenalty(model, exclude=["emb"]).norms()) == ["a"]


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    "made",
    [
        weight_norm,
        spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
)
def test_what_counts_is_the_weight_that_the_next_batch_meets(made: Callable) -> None:
    """Also after a step of the optimiser, when hooks have not put it together yet."""
    layer = made(nn.Linear(4, 4)).eval()
    penalty = LipschitzPenalty(nn.Sequential(layer))
    assert not penalty.left_out
    optimiser = torch.optim.SGD(layer.parameters(), 0.3)
    for _ in range(20):
        optimiser.zero_grad()
        penalty().backward()
        optimiser.step()
    for _ in range(30):
        value = penalty().item()
    columns = layer(torch.eye(4)) - layer(torch.zeros(4, 4))
    assert value == pytest.approx(oracles.spectral_norm(columns.detach().numpy()), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "parameter"),
    [(lambda: nn.LSTM(3, 4), "weight_hh_l0"), (lambda: nn.MultiheadAttention(4, 2), "in_proj_weight")],
)
def test_each_of_several_matrices_may_be_parametrised(make: Callable, parameter: str) -> None:
    layer = parametrizations.weight_norm(make(), parameter)
    penalty = LipschitzPenalty(nn.Sequential(layer))
    assert not penalty.left_out
    (name,) = (each for each in penalty.norms() if parameter.startswith(each.removeprefix("0.")))
    truth = oracles.spectral_norm(getattr(layer, parameter).detach().numpy())
    assert penalty.layer_values()[name] == pytest.approx(truth, rel=1e-5)
    penalty().backward()
    assert layer.parametrizations[parameter].original0.grad is not None


def test_a_transformer_is_counted_whole() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    penalty = LipschitzPenalty(model)
    assert not penalty.left_out
    own = ("self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2")
    assert list(penalty.norms()) == [f"layers.{layer}.{name}" for layer in range(2) for name in own]
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    truth = sum(oracles.spectral_norm(matrix.detach().numpy()) for matrix in matrices)
    assert penalty().item() == pytest.approx(truth, rel=1e-3)


def test_wrappers_within_a_model_have_no_part_in_names() -> None:
    model = nn.Sequential(
        torch.compile(nn.Sequential(nn.Linear(2, 3)), backend="eager"), nn.DataParallel(nn.Linear(3, 2))
    )
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for each in (model, averaged):
        assert list(LipschitzPenalty(each).norms()) == ["0.0", "1"]


def test_frozen_and_short_weights_count() -> None:
    lstm = nn.LSTM(3, 4).bfloat16()
    lstm.weight_ih_l0.requires_grad_(False)
    value = LipschitzPenalty(nn.Sequential(lstm))()
    assert value.dtype == torch.float32
    value.backward()
    assert lstm.weight_ih_l0.grad is None
    assert lstm.weight_hh_l0.grad.dtype == torch.bfloat16


def test_globs_name_matrices_or_their_module_and_mistakes_are_told() -> None:
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 4), "attention": nn.MultiheadAttention(4, 2)})
    assert list(LipschitzPenalty(model, exclude=["lstm"]).norms()) == [
        "attention.in_proj",
        "attention.out_proj",
    ]
    norms = LipschitzPenalty(model).layer_values()
    weighted = LipschitzPenalty(model, weights={"lstm.weight_hh*": 0.0, "lstm": 3.0, "attention*": 0.0})
    assert weighted().item() == pytest.approx(3 * norms["lstm.weight_ih_l0"], rel=1e-5)
    for arguments in ({"exclude": ["attention.inproj"]}, {"weights": {"attention.inproj": 1.0}}):
        with pytest.raises(UsageError, match=r"^no layer matches .* \(did you mean attention.in_proj\?\)$"):
            LipschitzPenalty(model, **arguments)
