"""TorchScript archives: scripted, traced and frozen ones give the kernels and the geometry of the module."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convsv_cli import load
from convsv_cli.model.layer import Geometry, Layer, UnsupportedLayer


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.same = nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=2)
        self.mirror = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
        self.wave = nn.Conv1d(6, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.up(self.mirror(self.same(self.down(x)))))
        return self.head(self.wave(x.flatten(2)).transpose(1, 2))


GEOMETRY = {
    "down": Geometry(stride=(2, 2), dilation=(1, 1), padding=(1,) * 4),
    "same": Geometry(stride=(1, 1), dilation=(2, 2), groups=2, padding=(2,) * 4),
    "mirror": Geometry(stride=(1, 1), dilation=(1, 1), padding=(1,) * 4, padding_mode="reflect"),
    "up": Geometry(stride=(2, 2), dilation=(1, 1), groups=2, transposed=True, padding=(0,) * 4),
    "wave": Geometry(stride=(1,), dilation=(1,), padding=(0, 0)),
    "head": Geometry(),
}
UNPADDED = Geometry(stride=(1, 1), dilation=(1, 1), padding=(0,) * 4)
INPUT = torch.rand(1, 3, 8, 8)
FORMS = {
    "script": torch.jit.script,
    "trace": lambda net: torch.jit.trace(net, INPUT),
    "frozen script": lambda net: torch.jit.freeze(torch.jit.script(net)),
    "frozen trace": lambda net: torch.jit.freeze(torch.jit.trace(net, INPUT)),
}


def saved(module: Any, folder: Path) -> Path:
    path = folder / "model.pt"
    torch.jit.save(module, path)
    return path


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("form", FORMS)
def test_kernels_and_geometry(form: str, tmp_path: Path) -> None:
    net = Net().eval()
    network = load(saved(FORMS[form](net), tmp_path))
    assert network.format == "torchscript"
    state = net.state_dict()
    assert len(network.layers) == len(GEOMETRY)
    for layer, (name, geometry) in zip(network.layers, GEOMETRY.items(), strict=True):
        assert isinstance(layer, Layer)
        assert torch.equal(layer.read(), state[f"{name}.weight"])
        padded_before = name == "mirror" and form != "script"
        assert layer.geometry.any_output is (name == "up" and form != "trace")  # whose code is read
        found = replace(layer.geometry, any_output=False)
        assert found == (UNPADDED if padded_before else geometry)
        assert layer.assumed == ()
        assert layer.name == name or "frozen" in form


class Functional(nn.Module):
    """Weights that are parameters of its own, and numbers that are attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.hop = 3
        self.register_buffer("basis", torch.rand(4, 1, 8))
        self.mixing = nn.Parameter(torch.rand(4, 4))
        self.weight = nn.Parameter(torch.rand(2, 2, 3, 3))

    def forward(self, x: torch.Tensor, flag: bool) -> torch.Tensor:
        y = torch.nn.functional.conv1d(x, self.basis, stride=self.hop)
        z = torch.conv2d(x, self.weight) if flag else torch.conv2d(x, self.weight, stride=2)
        return torch.nn.functional.linear(y, self.mixing) + z


def test_weights_of_calls(tmp_path: Path) -> None:
    basis, mixing, weight = load(saved(torch.jit.script(Functional()), tmp_path)).layers[:3]
    rows = {row.weight: row for row in (basis, mixing, weight)}
    assert rows["basis"].geometry == Geometry(stride=(3,), dilation=(1,), padding=(0, 0))
    assert (rows["mixing"].op, rows["mixing"].assumed) == ("Gemm", ())
    (assumed,) = rows["weight"].assumed
    assert "stride 1, dilation 1, groups 1" in assumed


def test_recurrent_layers_and_embeddings(tmp_path: Path) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 4)
            self.rnn = nn.LSTM(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(self.table(x))[0]

    for module in (torch.jit.script(Reader()), torch.jit.trace(Reader(), torch.ones(2, 2, dtype=torch.long))):
        rows = {row.weight: row for row in load(saved(module, tmp_path)).layers}
        assert isinstance(rows["table.weight"], UnsupportedLayer)
        assert rows["rnn.weight_ih_l0"].op == rows["rnn.weight_hh_l0"].op == "LSTM"


def test_weights_that_are_not_in_the_file_are_said_to_be_missing(tmp_path: Path) -> None:
    module = torch.jit.optimize_for_inference(torch.jit.trace(Net().eval(), INPUT))
    network = load(saved(module, tmp_path))
    if "ConstantMKLDNNTensor" in module.code:
        assert any("not in the file" in note for note in network.notes)
    else:
        assert len(network.layers) == len(GEOMETRY)


CALL = "class Net(Module):\n  def forward(self: Net):\n    y = torch.conv2d(x, CONSTANTS.c0, None, {})\n"


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ("[2, 2], [1, 1], [1, 1], 1", ""),
        ("[n, 1]", "not named"),
        ("[2, 2], [1, 1], [1, 1], groups(x)", "not named"),
        ("2, " * 3000, "not named"),
        ("[1e9, 1]", "not named"),
        ("[[2], 2]", "does not fit"),
        ("[-2, 2]", "does not fit"),
        ('"', "does not fit"),
        ("[2, 2], [1, 1], [1, 1], 7", "does not fit"),
        ("[" * 3000, "not named"),
    ],
    ids=lambda text: text[:20],
)
def test_code_that_is_not_understood(arguments: str, fragment: str, tmp_path: Path) -> None:
    path = saved(torch.jit.freeze(torch.jit.script(Net().eval())), tmp_path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, CALL.format(arguments) if name.endswith(".py") else old.read(name))
    row = load(tmp_path / "b.pt").layers[0]
    assert row.weight == "c0"
    assert fragment in getattr(row, "reason", "")
    assert isinstance(row, UnsupportedLayer) == bool(fragment)


def test_silero_has_the_kernels_and_the_geometry_of_its_graph(shared: Path) -> None:
    script, graph = (
        {fingerprint(layer.read()): layer for layer in load(shared / "models/silero-vad" / name).layers}
        for name in ("silero_vad.jit", "silero_vad.onnx")
    )
    assert script.keys() == graph.keys()
    assert len(script) == 16
    for key, layer in script.items():
        assert layer.assumed == ()
        assert layer.op == graph[key].op
        assert layer.geometry.stride == graph[key].geometry.stride
        assert layer.geometry.padding == graph[key].geometry.padding
        if layer.op == "Conv":
            assert torch.equal(layer.read(), graph[key].read())


def fingerprint(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Shape and values, but not the order of the values: an LSTM's gates have another one in ONNX."""
    return tuple(tensor.shape), *(round(float(tensor.double().pow(n).sum()), 6) for n in (1, 2))
