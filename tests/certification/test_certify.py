"""`certify`: radii against other computations and attacks, and what it says where there are none."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from convsv_cli import curvature_bounds, curvature_radii, margin_radii
from convsv_cli.errors import ConvsvError, UsageError
from convsv_cli.report import CURVATURE, MARGIN
from tests.support import exported_nets, onnx_models
from tests.support.attacks import nearest_found
from tests.support.quickly import certify

SHAPE = (2, 6, 6)


def net(activation: nn.Module | None = None, *, hidden: int = 5, scale: float = 1.0) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(2, hidden, 3, stride=2, padding=1),
        activation or nn.ReLU(),
        nn.Flatten(),
        nn.Linear(9 * hidden, 3),
    )
    with torch.no_grad():
        made[0].weight *= scale
        made[-1].bias -= made(samples()).mean(0)  # so that every class is predicted somewhere
    return made


def samples(count: int = 40, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(7))


def exported(model: nn.Module, folder: Path, *, dynamo: bool = False, shape: tuple[int, ...] = SHAPE) -> Path:
    folder.mkdir(exist_ok=True)
    return exported_nets.export(model.eval(), (1, *shape), folder / "net.onnx", dynamo=dynamo)


def data(folder: Path, x: torch.Tensor, y: torch.Tensor | np.ndarray, **others: np.ndarray) -> Path:
    path = folder / "data.npz"
    np.savez(path, x=np.asarray(x), y=np.asarray(y), **others)
    return path


def labelled(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The classes that the model predicts, but wrong for every fifth."""
    y = model(x).argmax(1)
    y[::5] = (y[::5] + 1) % 3
    return y


def certified(model: nn.Module, folder: Path, *, dynamo: bool = False, **options):
    x = samples()
    path = exported(model, folder, dynamo=dynamo)
    return certify(path, data(folder, x, labelled(model, x)), **options)


def radii(certification) -> torch.Tensor:
    return torch.tensor([sample.radius for sample in certification.samples], dtype=torch.float64)


def jacobian(layer: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    size = math.prod(shape)
    basis = torch.eye(size, dtype=torch.float64).view(size, *shape)
    with torch.no_grad():
        return (layer(basis) - layer(torch.zeros_like(basis))).flatten(1)


def test_margins_over_bounds_are_radii(tmp_path: Path) -> None:
    model = net()
    found = certified(model, tmp_path)
    margin, curvature, _ = found.routes
    constants = dict(margin.constants)
    assert (margin.name, curvature.name) == (MARGIN, CURVATURE)
    assert "Relu" in curvature.reason
    double = net().double()
    truth = float(torch.linalg.matrix_norm(jacobian(double[0], SHAPE), 2))
    head = double[-1].weight.detach()
    assert truth <= constants["lipschitz_before_head"]
    assert constants["lipschitz"] <= 1.001 * constants["lipschitz_before_head"] * float(
        torch.linalg.matrix_norm(head, 2)
    )
    by_rules = margin_radii(
        double(samples().double()).detach(), before_head=constants["lipschitz_before_head"], head=head
    )
    got = radii(found)
    assert (got > 1.2 * by_rules).all(), "the covariance of the logits proves more"
    assert (nearest_found(double, samples().double(), got) > got).all()
    assert (found.correct, len(found.samples)) == (32, 40)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("activation", [nn.Softplus(), nn.Sigmoid(), nn.Tanh()])
def test_chains_are_certified_by_curvature(tmp_path: Path, activation: nn.Module, *, dynamo: bool) -> None:
    model = net(activation)
    found = certified(model, tmp_path, dynamo=dynamo, arithmetic="real")
    route = found.routes[1]
    bounds = curvature_bounds(model, input_shape=SHAPE)
    by_curvature = curvature_radii(model, samples(), bounds)
    assert route.reason == ""
    assert dict(route.constants)["largest_curvature"] == pytest.approx(float(bounds.max()))
    assert (radii(found) >= 0.999 * by_curvature).all()
    assert sum(each.best for each in found.routes) == len(found.samples)


def test_deeper_chains_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(27, 3)
    )
    found = certified(model, tmp_path, arithmetic="real")
    assert found.routes[1].reason == ""
    bounds = curvature_bounds(model, input_shape=SHAPE)
    expected = torch.maximum(curvature_radii(model, samples(), bounds), torch.tensor(0.0))
    assert (radii(found) >= 0.999 * expected).all()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(72, 3)), "curvature needs layers with one activation"),
        (nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh()), "not Linear"),
        (nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 3)), "AveragePool is neither"),
    ],
)
def test_what_is_no_chain_says_so(tmp_path: Path, model: nn.Module, reason: str) -> None:
    torch.manual_seed(0)
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    found = certified(model, tmp_path)
    assert reason in found.routes[1].reason
    assert (radii(found) > 0).all()


@pytest.mark.parametrize(
    "model",
    [
        net(),
        net(nn.Softplus(), scale=0.5),
        net(nn.Tanh(), scale=2.0),
        nn.Sequential(net(), nn.Softmax(1)),
    ],
    ids=["relu", "softplus", "tanh", "probabilities"],
)
def test_no_attack_succeeds_inside(tmp_path: Path, model: nn.Module) -> None:
    found = certified(model, tmp_path)
    inside = radii(found)
    assert (inside > 0).all()
    nearest = nearest_found(model.double(), samples().double(), inside)
    model.float()
    assert (nearest > inside).all()
    assert nearest.isfinite().float().mean() > 0.5
    assert any("probabilities" in note for note in found.notes) == isinstance(model[-1], nn.Softmax)


def test_certified_is_never_above_robust(tmp_path: Path) -> None:
    eps = (0.01, 0.05, 0.1, 0.3, 1.0, 5.0)
    found = certified(net(), tmp_path, eps=eps, attack=True)
    assert found.attack is not None
    assert found.attack.failure == ""
    assert [level.eps for level in found.levels] == list(eps)
    for sample in found.samples:
        assert (sample.broken is None) == (not sample.correct)
        assert sample.broken is None or sample.broken >= sample.radius
    assert all(level.certified <= level.robust <= found.correct for level in found.levels)
    assert found.levels[0].certified > 0
    assert found.levels[-1].robust == 0


def test_radii_are_in_units_before_the_normalization(tmp_path: Path) -> None:
    model, x = net(), samples()
    path, y = exported(model, tmp_path), labelled(model, x)
    mean, std = (0.3, -0.1), (0.5, 0.25)
    before = x * torch.tensor(std).view(2, 1, 1) + torch.tensor(mean).view(2, 1, 1)
    plain = certify(path, data(tmp_path, x, y), arithmetic="real")
    raw = certify(path, data(tmp_path, before, y), input_mean=mean, input_std=std, arithmetic="real")
    done = certify(path, data(tmp_path, x, y), input_std=std, normalized=True, arithmetic="real")
    assert torch.allclose(radii(raw), radii(plain) / 4, rtol=1e-3)
    assert torch.allclose(radii(done), radii(plain) / 4, rtol=1e-9)

    double = copy.deepcopy(model).double()

    class Normalised(nn.Module):
        def forward(self, z):
            return double((z - torch.tensor(mean).view(2, 1, 1)) / torch.tensor(std).view(2, 1, 1))

    assert (nearest_found(Normalised(), before.double(), radii(raw)) > radii(raw)).all()


def test_an_attack_stays_in_the_ball_before_the_normalization(tmp_path: Path) -> None:
    model, x = net(), samples()
    path, y = exported(model, tmp_path), labelled(model, x)
    plain = certify(path, data(tmp_path, x, y), eps=0.4, attack=True)
    stretched = certify(path, data(tmp_path, x / 10, y), input_std=(0.1,), eps=0.04, attack=True)
    assert stretched.levels[0].robust == plain.levels[0].robust
    assert 0 < plain.levels[0].robust < plain.correct


def test_ties_have_no_radius(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    with torch.no_grad():
        model[1].weight[1], model[1].bias[1] = model[1].weight[0], model[1].bias[0]
    found = certified(model, tmp_path)
    top = model(samples()).argmax(1)
    assert (radii(found)[top != 2] == 0).all()
    assert (top != 2).any()


def test_forms_of_the_data_are_understood(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    path = exported(model, tmp_path, shape=(1, 6, 6))
    pixels = np.random.default_rng(0).integers(0, 256, (9, 6, 6), dtype=np.uint8)
    y = np.arange(9) % 3
    forms = [
        (pixels[:, None] / np.float32(255), y),
        (pixels, y.astype(np.uint8)),
        (pixels[..., None], y.astype(np.int32)),
        (pixels[:, None].astype(np.float64) / 255, y),
    ]
    results = [certify(path, data(tmp_path, *form)) for form in forms]
    for result in results[1:]:
        assert torch.allclose(radii(result), radii(results[0]), rtol=1e-3)
        assert [s.label for s in result.samples] == [s.label for s in results[0].samples]
    assert "bytes 0 to 255 were divided by 255" in results[1].notes
    assert len(certify(path, data(tmp_path, *forms[0]), limit=4).samples) == 4


def test_open_sizes_are_those_of_the_data(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    path = tmp_path / "net.onnx"
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    exported_nets.export(
        model, (1, 2, 9, 8), path, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes
    )
    x = samples(6, (2, 7, 5))
    found = certify(path, data(tmp_path, x, model(x).argmax(1)))
    assert found.model.input_shape == (("x", (1, 2, 7, 5)),)
    assert found.correct == 6


def test_a_checkpoint_is_certified_with_its_graph(tmp_path: Path) -> None:
    other, model, x = net(scale=0.3), net(), samples()
    graph = exported(other, tmp_path)
    torch.save(model.state_dict(), tmp_path / "net.pt")
    file = data(tmp_path, x, labelled(model, x))
    found = certify(tmp_path / "net.pt", file, graph=graph, attack=True, eps=0.2)
    (tmp_path / "own").mkdir()
    own = certify(exported(model, tmp_path / "own"), file, attack=True, eps=0.2)
    assert torch.allclose(radii(found), radii(own), rtol=1e-3)
    assert found.levels[0].robust == own.levels[0].robust
    with pytest.raises(UsageError, match="holds weights, but no graph"):
        certify(tmp_path / "net.pt", file)


class Gated(nn.Module):
    """Without a bound unless its inputs have one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.a(x) * torch.sigmoid(self.b(x)))


def test_without_a_bound_nothing_is_certified_and_the_reason_is_said(tmp_path: Path) -> None:
    model, x = Gated(), torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
    path = exported(model, tmp_path, shape=(4,))
    file = data(tmp_path, x, model(x).argmax(1))
    found = certify(path, file, attack=True, eps=2.0)
    assert (radii(found) == 0).all()
    assert "the network has no bound: Mul" in found.routes[0].reason
    assert found.levels[0].certified == 0
    bounded = certify(path, file, input_range=(0.0, 1.0), attack=True, eps=(0.001, 2.0))
    assert (radii(bounded) > 0).all()
    assert all(level.certified <= level.robust for level in bounded.levels)
    assert any("between 0 and 1" in note for note in bounded.notes)
    assert bounded.levels[1].robust >= found.levels[0].robust  # the attack has to stay in the range
    with pytest.raises(UsageError, match="leave the range"):
        certify(path, file, input_range=(0.0, 0.5))


def test_what_has_no_gradients_is_certified_but_not_attacked(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["r"], mode="nearest"),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    weights = {"scales": np.array([1, 1, 2, 2], "float32"), "w": onnx_models.normal(32, 3)}
    path = tmp_path / "net.onnx"
    onnx.save(onnx_models.graph_model(nodes, {"x": (1, 2, 2, 2)}, weights), path)
    x = samples(8, (2, 2, 2))
    found = certify(path, data(tmp_path, x, np.zeros(8, int)), attack=True)
    assert found.attack is not None
    assert "no gradient of Resize" in found.attack.failure
    assert all(level.robust is None for level in found.levels)
    assert (radii(found) > 0).all()


def test_the_head_may_be_written_in_many_ways(tmp_path: Path) -> None:
    w, x = onnx_models.normal(8, 3), samples(10, (8,))
    forms = {
        "Gemm": ([helper.make_node("Gemm", ["h", "w"], ["y"], alpha=2.0)], {"w": w}),
        "Gemm, transposed": (
            [helper.make_node("Gemm", ["h", "w"], ["y"], transB=1)],
            {"w": np.ascontiguousarray(2 * w.T)},
        ),
        "MatMul, Add": (
            [helper.make_node("MatMul", ["h", "w"], ["m"]), helper.make_node("Add", ["b", "m"], ["y"])],
            {"w": 2 * w, "b": np.zeros(3, "float32")},
        ),
    }
    found = {}
    for name, (nodes, weights) in forms.items():
        path = tmp_path / "net.onnx"
        relu = helper.make_node("Relu", ["x"], ["h"])
        onnx.save(onnx_models.graph_model([relu, *nodes], {"x": (1, 8)}, weights), path)
        found[name] = radii(certify(path, data(tmp_path, x, np.zeros(10, int))))
    logits = torch.relu(x).double() @ torch.tensor(2 * w).double()
    expected = margin_radii(logits, before_head=1.0, head=torch.tensor(2 * w).T)
    for values in found.values():
        assert torch.allclose(values, expected, rtol=1e-3, atol=1e-4)
        assert (values <= expected).all()


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "wrong.npz", **arrays)
    return folder / "wrong.npz"


def text(folder: Path) -> Path:
    (folder / "wrong.npz").write_text("no archive")
    return folder / "wrong.npz"


WRONG = {
    "no such file": (lambda f: f / "none.npz", "no such file"),
    "no labels": (lambda f: saved(f, x=np.zeros((3, *SHAPE))), "no array named one of y, y_test"),
    "two arrays of samples": (
        lambda f: saved(f, x=np.zeros((3, *SHAPE)), images=np.zeros(3), y=np.zeros(3, int)),
        "several array",
    ),
    "other lengths": (
        lambda f: saved(f, x=np.zeros((3, *SHAPE)), y=np.zeros(4, int)),
        "do not fit together",
    ),
    "other shape": (lambda f: saved(f, x=np.zeros((3, 6, 6)), y=np.zeros(3, int)), "the network takes 2x6x6"),
    "unknown class": (lambda f: saved(f, x=np.zeros((3, *SHAPE)), y=np.array([0, 1, 3])), "from 0 to 3"),
    "NaN": (lambda f: saved(f, x=np.full((3, *SHAPE), np.nan), y=np.zeros(3, int)), "NaN or infinity"),
    "integers": (lambda f: saved(f, x=np.zeros((3, *SHAPE), int), y=np.zeros(3, int)), "floats, or bytes"),
    "labels that are floats": (
        lambda f: saved(f, x=np.zeros((3, *SHAPE)), y=np.zeros(3)),
        "not whole numbers",
    ),
    "pickled objects": (
        lambda f: saved(f, x=np.array([None] * 3), y=np.zeros(3, int)),
        "not a .npz file with arrays of numbers",
    ),
    "no archive": (text, "not a .npz file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_are_one_line(tmp_path: Path, name: str) -> None:
    make, message = WRONG[name]
    path = exported(net(), tmp_path)
    with pytest.raises(ConvsvError) as refused:
        certify(path, make(tmp_path))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, "invalid radius 0.0"),
        ({"eps": ()}, "at least one radius"),
        ({"input_std": (0.5, 0.0)}, "standard deviations must be positive"),
        ({"input_std": (0.5, 0.5, 0.5)}, "--input-std has 3 entries, but the input has 2 channels"),
        ({"input_mean": (math.nan,)}, "means finite"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        certified(net(), tmp_path, **options)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (nn.Conv2d(2, 3, 3), SHAPE, "not 1 x classes"),
        (nn.Sequential(nn.Flatten(), nn.Linear(72, 1)), SHAPE, "not 1 x classes"),
    ],
)
def test_other_networks_are_no_classifiers(tmp_path: Path, model: nn.Module, shape, message: str) -> None:
    path = exported(model, tmp_path, shape=shape)
    with pytest.raises(UsageError, match=message):
        certify(path, data(tmp_path, samples(3), np.zeros(3, int)))


def test_a_planted_error_of_the_bound_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above fail where radii are too large: here is one that is."""
    from convsv_cli.certification.routes import margin

    honest = margin.margin_radii
    monkeypatch.setattr(margin, "margin_radii", lambda *a, **k: 30 * honest(*a, **k))
    found = certified(net(), tmp_path, attack=True, eps=(0.05, 0.1, 0.3, 1.0, 3.0))
    assert any(sample.broken is not None and sample.broken < sample.radius for sample in found.samples)


def test_nothing_right_leaves_nothing_to_attack(tmp_path: Path) -> None:
    model, x = net(), samples()
    y = (model(x).argmax(1) + 1) % 3
    found = certify(exported(model, tmp_path), data(tmp_path, x, y), attack=True)
    assert (found.correct, found.levels[0].certified, found.levels[0].robust) == (0, 0, 0)


@pytest.mark.parametrize("bias", [(3,), (1, 3), (1,), (1, 1)])
def test_a_bias_may_have_any_shape_that_fits(tmp_path: Path, bias: tuple[int, ...]) -> None:
    w = {"w": onnx_models.normal(4, 2, 3, 3), "v": onnx_models.normal(144, 3) / 20}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], auto_pad="SAME_UPPER"),
        helper.make_node("Tanh", ["c"], ["t"]),
        helper.make_node("Flatten", ["t"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "b"], ["y"], beta=0.5),
    ]
    b = onnx_models.normal(*bias)
    path = tmp_path / "net.onnx"
    onnx.save(onnx_models.graph_model(nodes, {"x": (1, *SHAPE)}, {**w, "b": b}), path)
    found = certify(path, data(tmp_path, samples(), np.zeros(40, int)), arithmetic="real")
    layer = nn.Conv2d(2, 4, 3, padding=1, bias=False)
    head = nn.Linear(144, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(w["w"]))
        head.weight.copy_(torch.tensor(w["v"]).T)
        head.bias.copy_(0.5 * torch.tensor(b).flatten().expand(3))
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), head)
    assert found.routes[1].reason == ""
    expected = curvature_radii(model, samples(), curvature_bounds(model, input_shape=SHAPE))
    assert (radii(found) >= 0.99 * expected).all()
    assert [sample.predicted for sample in found.samples] == model(samples()).argmax(1).tolist()


def test_half_precision_is_allowed_more_for(tmp_path: Path) -> None:
    w = onnx_models.normal(8, 3)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    single = onnx_models.graph_model([node], {"x": (1, 8)}, {"w": w})
    half = onnx_models.graph_model([node], {"x": (1, 8)}, {"w": w.astype("float16")})
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    file = data(tmp_path, samples(10, (8,)), np.zeros(10, int))
    results = []
    for name, model in (("single", single), ("half", half)):
        onnx.save(model, tmp_path / f"{name}.onnx")
        results.append(radii(certify(tmp_path / f"{name}.onnx", file)))
    assert (results[1] < results[0] - 1e-3).all()
