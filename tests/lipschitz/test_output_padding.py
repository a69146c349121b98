"""Output padding and output shape of transposed convolutions, in files of every form."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn
from torch.nn import functional

from convsv_cli import audit, load, spectral_norm
from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from convsv_cli.renderers.json import document
from convsv_cli.report import Report
from convsv_cli.saved import parsed
from tests.support import contract, oracles
from tests.support.command_line import convsv
from tests.support.drawn_convolutions import Drawn
from tests.support.onnx_models import graph_model, rng, saved

STRIDED = {"stride": 2, "padding": 1, "output_padding": 1}
DILATED = {"stride": 1, "dilation": 3, "padding": 2, "output_padding": 2}
PIXEL = torch.ones(1, 1, 1, 1)


def thousands(**settings: Any) -> nn.ConvTranspose2d:
    module = nn.ConvTranspose2d(1, 1, 2, bias=False, **settings)
    nn.init.constant_(module.weight, 1000.0)
    return module.eval()


def matrix(function: Callable[[torch.Tensor], torch.Tensor], *shape: int) -> np.ndarray:
    """Of a linear map, in double precision: what it makes of each unit input."""
    units = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    return function(units).flatten(1).T.detach().numpy()


def padded(path: Path, size: tuple[int, ...] | None = None) -> Any:
    """The interval of the only layer."""
    (row,) = audit(path, exact=True, input_size=size).layers
    measured = row.measurement("zero_padded")
    assert measured is not None
    return measured.enclosure


def test_the_network_is_not_proven_to_be_zero(tmp_path: Path) -> None:
    attributes = {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}
    node = Drawn(
        op="ConvTranspose", weight=np.full((1, 1, 2, 2), 1000, np.float32), size=(1, 1), attributes=attributes
    )
    assert node.matrix() == [[1000]]
    path = saved(node.model(), tmp_path)
    shown = convsv("audit", path, "--exact", "--empirical", "random", "--format", "json")
    assert (shown.returncode, shown.stderr) == (0, "")
    (report,) = json.loads(shown.stdout)["audits"]
    (layer,) = report["layers"]
    contract.assert_enclosed(layer["zero_padded"]["lower"], 1000, layer["zero_padded"]["upper"])
    contract.assert_enclosed(report["network"]["empirical_lower"], 1000, report["network"]["lipschitz_upper"])
    assert (layer["padding"], layer["output_padding"]) == ([1, 1, 1, 1], [1, 1])
    assert padded(path).lower >= 999


FORMS: dict[str, Callable[[nn.Module, Path], None]] = {
    "model.pt": torch.save,
    "script.pt": lambda module, path: torch.jit.save(torch.jit.script(module), path),
    "traced.pt": lambda module, path: torch.jit.save(torch.jit.trace(module, PIXEL), path),
    "frozen.pt": lambda module, path: torch.jit.save(torch.jit.freeze(torch.jit.trace(module, PIXEL)), path),
    "model.pt2": lambda module, path: torch.export.save(torch.export.export(module, (PIXEL,)), path),
    "model.onnx": lambda module, path: torch.onnx.export(module, (PIXEL,), path, dynamo=True, verbose=False),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("settings", [STRIDED, DILATED], ids=["strided", "dilated"])
def test_every_form_of_file_has_it(form: str, settings: dict[str, int], tmp_path: Path) -> None:
    module = thousands(**settings)
    assert module(PIXEL).norm() == 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FORMS[form](module, tmp_path / form)
    (layer,) = load(tmp_path / form).layers
    assert isinstance(layer, Layer)
    assert layer.geometry.output_padding == (settings["output_padding"],) * 2
    size = (1, 1) if form.endswith(".pt") else None
    interval = padded(tmp_path / form, size)
    contract.assert_enclosed(interval.lower, 1000, interval.upper)
    assert interval.lower >= 999


def test_modules_with_any_geometry(tmp_path: Path) -> None:
    """Those too whose dilation lets torch add more than a stride, which onnxruntime refuses."""
    random, beyond = rng(4), 0
    for _ in range(60):
        axes = int(random.integers(1, 4))
        stride, dilation, size = (tuple(map(int, random.integers(1, 4, axes))) for _ in range(3))
        kernel = tuple(map(int, random.integers(1, 4, axes)))
        further = tuple(int(random.integers(0, max(each))) for each in zip(stride, dilation, strict=True))
        whole = (
            s * (n - 1) + d * (k - 1) + more
            for s, n, d, k, more in zip(stride, size, dilation, kernel, further, strict=True)
        )
        padding = tuple(int(random.integers(0, n // 2 + 1)) for n in whole)
        make = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
        module = make(2, 2, kernel, stride, padding, further, int(random.integers(1, 3)), False, dilation)
        module = module.double()
        torch.save(module, tmp_path / "m.pt")
        truth = oracles.spectral_norm(matrix(module, 2, *size))
        interval = padded(tmp_path / "m.pt", size)
        contract.assert_enclosed(interval.lower, truth, interval.upper)
        beyond += any(more >= s for more, s in zip(further, stride, strict=True))
    assert beyond >= 5


def test_an_output_size_takes_the_place_of_the_output_padding(tmp_path: Path) -> None:
    """Of a module of torch nothing tells how it is called."""
    module = thousands(stride=2, padding=1)
    assert module(PIXEL, output_size=(1, 1)).norm() == 1000
    torch.save(module, tmp_path / "m.pt")
    assert padded(tmp_path / "m.pt", (1, 1)).upper >= 1000


class Computed(nn.Module):
    """Its output padding depends on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, 2, 2), 1000.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        more = 2 if x.size(2) == 1 else 0
        return functional.conv_transpose2d(x, self.weight, None, 1, 2, more, 1, 3)


def test_code_that_computes_it(tmp_path: Path) -> None:
    """Then it is not known, and nothing is said that depends on it."""
    assert Computed()(PIXEL).norm() == 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Computed()), tmp_path / "m.pt")
    (layer,) = load(tmp_path / "m.pt").layers
    assert (layer.op, layer.geometry.padding, layer.geometry.output_padding) == ("ConvTranspose", (), ())
    (row,) = audit(tmp_path / "m.pt", exact=True, input_size=1).layers
    assert row.measurement("zero_padded") is None
    assert row.measurement("certified").enclosure.upper >= 1000


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "NOTSET"])
def test_both_sides_that_an_odd_element_may_be_on(mode: str, tmp_path: Path) -> None:
    """Opset 1 and older runtimes have it on the other side than onnxruntime has today."""
    weight = np.array([1, 10, 100, 1000], np.float32).reshape(1, 1, 4)
    attributes = {"strides": [1], "auto_pad": mode, **({"output_shape": [2]} if mode == "NOTSET" else {})}
    node = Drawn(op="ConvTranspose", weight=weight, size=(2,), attributes=attributes)
    interval = padded(saved(node.model(), tmp_path))
    whole = matrix(lambda x: functional.conv_transpose1d(x, torch.from_numpy(weight).double()), 1, 2)
    windows = [oracles.spectral_norm(whole[start : start + 2]) for start in (1, 2)]
    assert max(windows) > 2 * min(windows)
    for truth in (*windows, oracles.spectral_norm(node.matrix())):
        contract.assert_enclosed(interval.lower, truth, interval.upper)


@pytest.mark.parametrize(
    "attributes",
    [
        {"output_padding": [-1]},
        {"output_padding": [1, 1]},
        {"output_shape": [1, 2, 3, 4]},
        {"output_shape": [1, 2]},
        {"auto_pad": "SAME"},
        {"pads": [1]},
    ],
    ids=str,
)
def test_attributes_that_fit_no_kernel(attributes: dict[str, Any], tmp_path: Path) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    model = graph_model([node], {"x": [1, 1, 3]}, {"w": np.ones((1, 1, 2), np.float32)})
    (layer,) = load(saved(model, tmp_path)).layers
    assert isinstance(layer, UnsupportedLayer)
    assert "fit no kernel" in layer.reason


def test_nodes_that_share_a_weight_but_not_the_output_padding(tmp_path: Path) -> None:
    common = {"strides": [2], "pads": [1, 1]}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["a"], name="one", **common),
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="two", output_padding=[1], **common),
    ]
    weights = {"w": np.full((1, 1, 2), 1000, np.float32)}
    path = saved(graph_model(nodes, {"x": [1, 1, 1]}, weights, ["a", "y"]), tmp_path)
    assert [layer.geometry.output_padding for layer in load(path).layers] == [(), (1,)]


@pytest.mark.parametrize(
    ("op", "names"),
    [
        ("Conv", ("pads",)),
        ("Conv", ("pads", "dilations")),
        ("Conv", ("strides",)),
        ("ConvTranspose", ("strides",)),
        ("ConvTranspose", ("strides", "output_padding")),
        ("ConvTranspose", ("dilations", "output_padding")),
    ],
    ids=str,
)
def test_enormous_attributes_cost_nothing(op: str, names: tuple[str, ...], tmp_path: Path) -> None:
    attributes = {name: [2**40] * (2 if name == "pads" else 1) for name in names}
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    model = graph_model([node], {"x": [1, 1, 4]}, {"w": np.array([[[3, 4, 12]]], np.float32)})
    (row,) = audit(saved(model, tmp_path), exact=True).layers
    measured = row.measurement("zero_padded")
    assert 0 <= measured.enclosure.lower <= measured.enclosure.upper <= 19.001


def test_public_function() -> None:
    kernel = torch.full((1, 1, 2, 2), 1000.0)
    known = {"input_size": 1, "padding": 1, "stride": 2, "transposed": True}
    interval = spectral_norm(kernel, **known, output_padding=1)
    contract.assert_enclosed(interval.lower, 1000, interval.upper)
    for wrong in (
        {"output_padding": (1,)},
        {"output_padding": -1},
        {"output_padding": 1, "transposed": False},
    ):
        with pytest.raises(UsageError, match="output padding"):
            spectral_norm(kernel, **{**known, "output_padding": 1, **wrong})


def test_saved_reports_keep_it(tmp_path: Path) -> None:
    node = Drawn(
        op="ConvTranspose",
        weight=np.ones((1, 1, 2)),
        size=(2,),
        attributes={"strides": [2], "output_padding": [1]},
    )
    report = document(Report(command="audit", audits=(audit(saved(node.model(), tmp_path), exact=True),)))
    for expected in ((1,), ()):
        back = parsed(json.dumps(report).encode(), "report")
        assert back.audits[0].layers[0].output_padding == expected
        report["audits"][0]["layers"][0].pop("output_padding", None)
