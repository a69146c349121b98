"""Graphs of programs of torch.export: their values are torch's, their bounds those of the ONNX export."""

from __future__ import annotations

import json
import math
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from convsv_cli import audit, certify
from convsv_cli.report import BOUNDED
from tests.support.exported_programs import as_onnx, computed, exported, translation
from tests.support.scripted_modules import computed as computed_by
from tests.support.scripted_modules import network, saved, scripts_of
from tests.support.torch_networks import Of, networks

Tensor = torch.Tensor
SOME = ("residual", "lstm", "circular")
"""Networks of every day; CI looks at all."""
FOLDED = 1e-6
"""What rounding BatchNorm, or the constants of activations, to single precision makes of a bound: torch's
older exporter does that."""


@pytest.mark.parametrize(
    "name",
    [name if name in SOME else pytest.param(name, marks=pytest.mark.exhaustive) for name in networks()],
)
def test_the_bound_is_that_of_the_onnx_export(name: str, tmp_path: Path) -> None:
    module, x = networks()[name]
    path = exported(module, [x], tmp_path / "m.pt2")
    np.testing.assert_allclose(computed(path, [x])[0], module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    own = audit(path, network_effort="quick").bound
    other = audit(as_onnx(module, [x], tmp_path / "m.onnx"), network_effort="quick").bound
    assert own.status == other.status == BOUNDED
    assert own.lipschitz == pytest.approx(other.lipschitz, rel=FOLDED)
    for script, fed in scripts_of(module, x, tmp_path):
        found = network(script, fed, x)
        np.testing.assert_allclose(computed_by(found, tmp_path, x)[0], module(x).detach().numpy(), atol=1e-5)
        bound = audit(script, input_shapes={fed: tuple(x.shape)}, network_effort="quick").bound
        assert bound.lipschitz == pytest.approx(own.lipschitz, rel=1e-9)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "name", [name for name in networks() if name not in ("lstm", "both ways", "gru", "rnn")]
)
def test_core_aten_has_a_sound_bound(name: str, tmp_path: Path) -> None:
    """Decomposed programs are bounded, too; recurrent layers are loops written out then."""
    module, x = networks()[name]
    path = exported(module, [x], tmp_path / "m.pt2", core=True)
    np.testing.assert_allclose(computed(path, [x])[0], module(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    found = audit(path, network_effort="quick").bound
    assert found.status == BOUNDED
    double = module.double()
    with torch.no_grad():
        for scale in (1e-3, 0.1, 1.0):
            moved = x.double() + scale * torch.randn_like(x.double())
            apart = (double(moved) - double(x.double())).norm() / (moved - x.double()).norm()
            assert apart <= found.lipschitz


def smooth(x: Tensor) -> Sequence[Tensor]:
    names = "sigmoid tanh gelu silu mish softplus elu selu celu hardswish logsigmoid softsign tanhshrink"
    return [getattr(F, name)(x) for name in names.split()] + [F.gelu(x, approximate="tanh"), F.glu(x, 1)]


def kinked(x: Tensor) -> Sequence[Tensor]:
    names = "relu relu6 hardtanh hardsigmoid leaky_relu hardshrink softshrink"
    more = [x.clamp(-0.5, 0.5), x.clamp(min=0.2), torch.clamp_max(x, 0.3), F.threshold(x, 0.1, -2.0)]
    return [getattr(F, name)(x) for name in names.split()] + more


def elementary(x: Tensor) -> Sequence[Tensor]:
    names = "exp sin cos abs neg floor ceil round erf sign sinh cosh atan asinh square expm1 frac trunc exp2"
    positive = "log sqrt rsqrt reciprocal log1p log2 log10"
    return [getattr(torch, name)(x) for name in names.split()] + [
        getattr(torch, name)(x.abs() + 1) for name in positive.split()
    ]


def arithmetic(x: Tensor) -> Sequence[Tensor]:
    return [
        (x + 1) * 2 - x / 3 + (1 - x) + torch.add(x, x, alpha=2) + x**2 + 2**x,
        x * 3 + torch.arange(8),
        torch.maximum(x, x.flip(1)) + torch.minimum(x, x * 0.5),
        torch.addcmul(x, x, x, value=0.5) + torch.addcdiv(x, x, x.abs() + 1) + torch.lerp(x, 2 * x, 0.3),
        torch.remainder(x, 0.7) + torch.fmod(x, 0.7) + torch.div(x, 0.3, rounding_mode="floor"),
        torch.where((x > 0) & (x < 1) | ~(x > -1), x, -x) + x.masked_fill(x < -1, 0.0) * (x != 0),
        (x.double() * 2).float() + x.to(torch.float64).mean().float(),
    ]


def moved(x: Tensor) -> Sequence[Tensor]:
    y = x.view(2, -1).reshape(8, 48).flatten().unflatten(0, (2, 4, 6, 8)).permute(0, 2, 3, 1)
    return [
        y.transpose(1, -1).contiguous().squeeze().unsqueeze(1)[:, 0],
        x[:, 1:3, ::2, -3:] + x[:, :2, :3, :3] + x.narrow(1, 1, 2)[:, :, :3, :3],
        x.select(3, 1)[:, :2, :3, None],
        torch.cat([*(a * i for i, a in enumerate(x.chunk(2, 1))), *x.split([1, 3], 1)], 1),
        torch.stack(x.unbind(1), 2) + x.movedim(1, 2),
        x.flip(1, 3) + x.roll(2, 3) + x.roll((1, -1), (1, 2)) + x.roll(3),
        x[:, :1].expand(2, 4, 6, 8) + x[:, :1].repeat(1, 4, 1, 1) + x.mean(1, keepdim=True).expand_as(x),
        F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2) + F.channel_shuffle(x, 2),
        F.pad(x, (1, 2, 0, 1), value=0.5)[:, :, :-1], F.pad(x, (-1, 2)), x.tril() + x.triu(1),
        F.pad(x, (1, 2, 1, 1), mode="circular"), F.pad(x, (1, 2, 3, 1), mode="reflect"),
        F.pad(x, (1, 2, 0, 1), mode="replicate"), x.unfold(3, 3, 2),
        x[:, torch.tensor([0, 2, 1, 1])] + x.index_select(1, torch.tensor([3, 3, 0, 1])),
        torch.gather(x, 1, torch.zeros(2, 4, 6, 8, dtype=torch.int64)),
        x[:, torch.tensor([0, 1]), torch.tensor([2, 3])],
        x * torch.ones(8) + torch.zeros_like(x) + torch.full((8,), 2.0) + torch.eye(8)[0],
        x + torch.linspace(0, 1, 8),
        x + torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")[0],
    ]  # fmt: skip


def reduced(x: Tensor) -> Sequence[Tensor]:
    return [
        x.sum((1, 2)) + x.mean((1, 2)) + x.amax((1, 2)) + x.amin((1, 2)) + x.logsumexp((1, 2)),
        x.prod(1).prod(1), x.diff(), torch.diff(x, 2, 1, prepend=x[:, :1], append=x[:, 1:3]),
        x.sum() + x.mean() + x.max() + x.min(), x.softmax(1) + x.log_softmax(-1), x.cumsum(2),
        x.max(1)[0] + x.min(1, keepdim=True).values[:, 0] + x.std(1) + x.var(1, correction=0),
        torch.var_mean(x, 1)[1] + x.norm(dim=1) + torch.linalg.vector_norm(x, 1, dim=1),
        torch.linalg.vector_norm(x, math.inf, dim=1) + F.cosine_similarity(x, x.flip(1), dim=1),
        x.topk(3, 1)[0] + x.sort(1, descending=True)[0][:, :3], F.normalize(x, dim=1),
        F.local_response_norm(x, 3), F.layer_norm(x, (6, 8)),
    ]  # fmt: skip


def pooled(x: Tensor) -> Sequence[Tensor]:
    return [
        F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1), F.adaptive_avg_pool2d(x, (3, 4)),
        F.adaptive_avg_pool2d(x, (4, 5)), F.adaptive_max_pool2d(x, 1), F.max_pool2d(x[0], 2),
        F.max_pool2d(x, 3, 2, ceil_mode=True) + F.avg_pool2d(x, 3, 2, ceil_mode=True),
        F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), F.max_pool1d(x[0], 2), F.avg_pool1d(x[0], 2),
        F.avg_pool3d(x, 2), F.interpolate(x, scale_factor=2, mode="nearest"), F.interpolate(x, size=(9, 11)),
        F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
        F.interpolate(x, size=(9, 9), mode="bilinear", align_corners=True),
        F.interpolate(x[0], size=11, mode="linear"), F.interpolate(x[:1], size=(9, 12), mode="nearest-exact"),
    ]  # fmt: skip


def multiplied(x: Tensor) -> Sequence[Tensor]:
    def attend(*more: Tensor, **options: object) -> Tensor:
        return F.scaled_dot_product_attention(x, *(more or (x, x)), **options)

    return [
        x @ x.transpose(2, 3), torch.bmm(x.flatten(0, 1), x.flatten(0, 1).mT), x[0, 0] @ x[0, 0, 0],
        torch.addmm(x[0, 0] @ x[0, 0].t(), x[0, 1], x[0, 1].t(), beta=0.5, alpha=2),
        torch.einsum("bchw,bcij->bhij", x, x), attend(), attend(is_causal=True, scale=0.3),
        attend(attn_mask=torch.ones(6, 6).tril().bool()), attend(attn_mask=torch.ones(6, 6)),
        attend(x[:, :2], x[:, 2:], enable_gqa=True),
    ]  # fmt: skip


def without_gradient(x: Tensor) -> Sequence[Tensor]:
    with torch.no_grad():
        y = x * 2
    return [y + x, torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))]


def in_place(x: Tensor) -> Sequence[Tensor]:
    y = x * 2
    y += x
    z = y.relu_()
    w = (x * 1).add_(x).mul_(2)
    return [y + z, w.tanh_()]


FUNCTIONS: list[Callable[[Tensor], Sequence[Tensor]]] = [
    smooth, kinked, elementary, arithmetic, moved, reduced, pooled, multiplied, without_gradient, in_place,
]  # fmt: skip


@pytest.mark.parametrize("core", [False, True], ids=["as exported", "core"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_of_functions_are_torchs(
    function: Callable[[Tensor], Sequence[Tensor]], core: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 8)
    wrapped = Of(lambda x, _: tuple(function(x)), nn.Linear(1, 1))
    agree(wrapped, [x], tmp_path / "m.pt2", core=core)
    if not core and function is not without_gradient:  # a trace has one branch
        path, name = saved(wrapped, x, tmp_path / "m.pt", "traced")
        own = computed_by(network(path, name, x), tmp_path, x)
        for one, other in zip(own, function(x), strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)


def agree(module: nn.Module, inputs: list[Tensor], path: Path, *, core: bool) -> None:
    """The translation has no operator of torch's, and gives what the module does."""
    exported(module, inputs, path, core=core)
    foreign = {node.op_type for node in translation(path)[1].graph.node if node.domain}
    assert not foreign
    expected = module(*inputs)
    for own, other in zip(
        computed(path, inputs), [expected] if isinstance(expected, Tensor) else expected, strict=True
    ):
        np.testing.assert_allclose(own, other.detach().numpy(), rtol=1e-4, atol=1e-5)


LAYERS = {
    **{f"conv {n}": (getattr(nn, f"Conv{n}d")(4, 6, 3, 2, 1, groups=2), n) for n in (1, 2, 3)},
    **{f"same {n}": (getattr(nn, f"Conv{n}d")(4, 6, 4, padding="same", dilation=2), n) for n in (1, 2)},
    **{
        f"transposed {n}": (
            getattr(nn, f"ConvTranspose{n}d")(4, 6, 3, 2, 1, output_padding=1, groups=2, dilation=2), n
        )
        for n in (1, 2, 3)
    },
    **{f"batch norm {n}": (getattr(nn, f"BatchNorm{n}d")(4), n) for n in (1, 3)},
    "no affine": (nn.BatchNorm2d(4, affine=False), 2), "instance": (nn.InstanceNorm2d(4, affine=True), 2),
    "groups": (nn.GroupNorm(2, 4), 2), "prelu": (nn.PReLU(4), 2), "linear": (nn.Linear(9, 3), 1),
    "rms": (nn.RMSNorm(9), 1), "layer norm": (nn.LayerNorm(9, bias=False), 1),
}  # fmt: skip


@pytest.mark.parametrize("core", [False, True], ids=["as exported", "core"])
def test_values_of_layers_are_torchs(core: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [layer for layer, _ in LAYERS.values()]
    for layer in layers:
        for name, buffer in layer.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2.0)
    inputs = [torch.randn(1, 4, *(9, 7, 5)[:axes]) for axes in (1, 2, 3)]

    def run(x: Tensor, y: Tensor, z: Tensor, *layers: nn.Module) -> tuple[Tensor, ...]:
        every = zip(layers, LAYERS.values(), strict=True)
        return tuple(layer((x, y, z)[axes - 1]) for layer, (_, axes) in every)

    agree(Of(run, *layers), inputs, tmp_path / "m.pt2", core=core)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_values_of_recurrent_layers_are_torchs(kind: type[nn.RNNBase], tmp_path: Path) -> None:
    """Outputs and last states of two layers, both ways, with and without bias and batch first."""
    torch.manual_seed(0)
    layers = [kind(4, 6, 2, batch_first=True, bidirectional=True), kind(4, 6, 2, bias=False)]

    def run(x: Tensor, first: nn.Module, second: nn.Module) -> tuple[Tensor, ...]:
        (a, b), (c, d) = first(x), second(x)
        return (a, c, *(b if isinstance(b, tuple) else (b,)), *(d if isinstance(d, tuple) else (d,)))

    agree(Of(run, *layers), [torch.randn(3, 5, 4)], tmp_path / "m.pt2", core=False)


class Line(nn.Module):
    """A linear layer, what it gives changed, and a view of that."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return (self.linear(x).relu() + x).view(-1, 4)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of any batch."""
    path = tmp_path_factory.mktemp("line") / "line.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dims = ({0: torch.export.Dim.AUTO},)
        torch.export.save(torch.export.export(Line(), (torch.randn(2, 8),), dynamic_shapes=dims), path)
    return path


Edit = Callable[[dict[str, Any], Callable[[str], dict[str, Any]]], None]


def edited(source: Path, target: Path, edit: Edit) -> Path:
    """The program with its graph changed; the edit is given that, and a way to find a node."""
    with zipfile.ZipFile(source) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    home = next(name for name in records if name.endswith("models/model.json"))
    model = json.loads(records[home])
    graph = model["graph_module"]["graph"]
    edit(graph, lambda word: next(node for node in graph["nodes"] if word in node["target"]))
    records[home] = json.dumps(model).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return target


def takes(name: str) -> dict[str, Any]:
    return {"as_tensor": {"name": name}}


CONTRADICTIONS: dict[str, tuple[Edit, str]] = {
    "a cycle": (
        lambda _, node: node("linear")["inputs"][0].update(arg=takes("add")),
        "'linear' takes 'add', which nothing before it gives",
    ),
    "a missing value": (
        lambda _, node: node("relu")["inputs"][0].update(arg=takes("nothing")),
        "'relu' takes 'nothing', which nothing before it gives",
    ),
    "a name twice": (
        lambda graph, node: graph["nodes"].append(node("relu")),
        "'relu' gives 'relu', which is there already",
    ),
    "no output": (lambda graph, _: graph.update(outputs=[]), "it takes, or gives, no tensors"),
    "an output that nothing gives": (
        lambda graph, _: graph.update(outputs=[takes("linear"), takes("it")]),
        "nothing gives the output 'it'",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_programs_that_contradict_themselves_have_no_graph(name: str, line: Path, tmp_path: Path) -> None:
    """Their layers are audited all the same."""
    edit, reason = CONTRADICTIONS[name]
    result = audit(edited(line, tmp_path / "m.pt2", edit), network_effort="quick")
    assert result.bound.reason.startswith(f"convsv takes no graph from this program: {reason}")
    assert [row.name for row in result.layers] == ["linear"]


EXPRESSIONS = (
    "Pow(Pow(Pow(Integer(99999), Integer(64)), Integer(64)), Integer(64))",
    f"{'(' * 2000}1{')' * 2000}",
    "__import__('os').system('true')",
    "Symbol('s99', integer=True)",
    "FloorDiv(Integer(1), Integer(0))",
    "x" * 5000,
    "Integer('8')",
)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_sizes_that_are_none_are_not_known(expression: str, line: Path, tmp_path: Path) -> None:
    size = {"as_expr": {"expr_str": expression, "hint": {"as_int": 4}}}

    def edit(graph: dict[str, Any], _: object) -> None:
        graph["tensor_values"]["view"]["sizes"] = [size, {"as_int": 4}]

    found = audit(edited(line, tmp_path / "m.pt2", edit), network_effort="quick").bound
    assert [obstacle.reason for obstacle in found.obstacles] == ["sizes that are not known before it runs"]


def test_declared_sizes_of_results_are_not_believed(line: Path, tmp_path: Path) -> None:
    """Only what is reshaped to them: those of the other tensors follow from the operators."""

    def edit(graph: dict[str, Any], _: object) -> None:
        graph["tensor_values"]["relu"]["sizes"] = [{"as_int": 3}, {"as_int": 7}]

    plain, other = audit(line).bound, audit(edited(line, tmp_path / "m.pt2", edit)).bound
    assert plain.lipschitz == other.lipschitz


def test_what_has_no_translation_says_why(tmp_path: Path) -> None:
    def run(x: Tensor, layer: nn.Module) -> Tensor:
        return torch.linalg.matrix_exp(layer(x)) + F.dropout(x, 0.5, training=True)

    path = exported(Of(run, nn.Linear(8, 8)), [torch.randn(8, 8)], tmp_path / "m.pt2")
    reasons = {each.op: each.reason for each in audit(path).bound.obstacles}
    assert reasons["aten.dropout_default"] == "dropout in training"
    assert reasons["aten.linalg_matrix_exp_default"] == "no Lipschitz rule for this operator"


def test_views_that_are_changed_in_place_are_refused(tmp_path: Path) -> None:
    def run(x: Tensor, layer: nn.Module) -> Tensor:
        y = layer(x)
        y[:, 0] = 0
        return y

    path = exported(Of(run, nn.Linear(8, 8)), [torch.randn(2, 8)], tmp_path / "m.pt2")
    assert "changes in place what another tensor shares with it" in audit(path).bound.reason


def test_open_sizes_are_what_is_asked_for(tmp_path: Path) -> None:
    """The mean over a larger image is flatter; the bound at a size is that of a program for that size."""
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    auto = torch.export.Dim.AUTO
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = torch.export.export(
            module.eval(), (torch.ones(2, 3, 16, 16),), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
        )
    torch.export.save(free, tmp_path / "free.pt2")
    own = exported(module, [torch.ones(1, 3, 32, 32)], tmp_path / "own.pt2")
    asked, fixed = audit(tmp_path / "free.pt2", input_size=32).bound, audit(own).bound
    assert asked.lipschitz == pytest.approx(fixed.lipschitz, rel=1e-9)
    assert asked.lipschitz < 0.6 * audit(tmp_path / "free.pt2").bound.lipschitz
    assert any("the bound is for one sample" in line for line in asked.assumptions)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier as a program, as an ONNX file and as a state dict, and samples."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3)
    )
    x = torch.randn(4, 1, 8, 8)
    exported(module, [x[:1]], folder / "m.pt2")
    as_onnx(module, [x[:1]], folder / "m.onnx")
    torch.save(module.state_dict(), folder / "m.pt")
    torch.save(module, folder / "chain.pt")
    np.savez(folder / "x.npz", x=x.numpy(), y=module(x).argmax(1).numpy())
    return folder


@pytest.mark.parametrize("name", ["m.pt2", "chain.pt"])
def test_programs_and_chains_are_certified_like_their_export(classifier: Path, name: str) -> None:
    own, other = (
        certify(classifier / each, data=classifier / "x.npz", effort="none") for each in (name, "m.onnx")
    )
    assert [each.radius for each in own.samples] == pytest.approx(
        [each.radius for each in other.samples], rel=1e-4
    )
    assert min(each.radius for each in own.samples) > 0


def test_programs_are_run(classifier: Path) -> None:
    found = audit(classifier / "m.pt2", empirical="random").bound
    assert found.empirical is not None
    assert 0.2 * found.lipschitz < found.empirical.ratio <= found.lipschitz


def test_programs_supply_graphs(classifier: Path) -> None:
    own, other = (audit(classifier / "m.pt", graph=classifier / name).bound for name in ("m.pt2", "m.onnx"))
    assert own.lipschitz == pytest.approx(other.lipschitz, rel=1e-9)
