"""TorchScript archives: scripted, traced and frozen ones give the kernels and the geometry of the module."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from convsv_cli import load
from convsv_cli.network import Geometry, Layer, UnsupportedLayer
from tests.pickles import archive, pickled


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
        assert layer.geometry == (UNPADDED if padded_before else geometry)
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
        if flag:
            z = torch.conv2d(x, self.weight)
        else:
            z = torch.conv2d(x, self.weight, stride=2)
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


CALL = "class A(Module):\n  def forward(self: A):\n    y = torch.conv2d(x, CONSTANTS.c0, None, {})\n"


@pytest.mark.parametrize(
    "arguments",
    ["[n, 1]", "[2, 2], [1, 1], [1, 1], groups(x)", "[[2], 2]", "[2, 2", "2, " * 3000, '"', "[1e9, 1]"],
    ids=lambda text: text[:20],
)
def test_code_that_is_not_understood_leaves_the_assumption(arguments: str, tmp_path: Path) -> None:
    constants = pickled(({"a": 1},))
    path = tmp_path / "a.pt"
    torch.jit.save(torch.jit.freeze(torch.jit.script(Net().eval())), path)
    import zipfile

    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            is_code = name.endswith(".py")
            new.writestr(name, CALL.format(arguments) if is_code else old.read(name))
    row = load(tmp_path / "b.pt").layers[0]
    assert isinstance(row, UnsupportedLayer)
    assert "not named as a weight" in row.reason
    assert constants


def test_silero_gives_the_kernels_of_its_other_form(shared: Path) -> None:
    folder = shared / "models/silero-vad"
    network = load(folder / "silero_vad.jit")
    assert network.format == "torchscript"
    assert all(isinstance(layer, Layer) and not layer.assumed for layer in network.layers)
    strides = {layer.name: layer.geometry.stride for layer in network.layers}
    assert strides["_model.stft.forward_basis_buffer"] == (128,)
    assert [strides[f"_model.encoder.{i}.reparam_conv"] for i in range(4)] == [(1,), (2,), (2,), (1,)]
    other = [
        tensor for tensor in load_file(folder / "silero_vad_16k.safetensors").values() if tensor.ndim > 1
    ]
    kernels = [layer.read() for layer in network.layers if layer.name.startswith("_model.")]
    assert Counter(map(fingerprint, kernels)) == Counter(map(fingerprint, other))


def test_silero_has_the_geometry_of_its_graph(shared: Path) -> None:
    folder = shared / "models/silero-vad"
    script, graph = (
        {fingerprint(layer.read()): layer for layer in load(folder / name).layers if layer.op == "Conv"}
        for name in ("silero_vad.jit", "silero_vad.onnx")
    )
    assert script.keys() == graph.keys()
    for key, layer in script.items():
        assert layer.geometry.stride == graph[key].geometry.stride
        assert layer.geometry.padding == graph[key].geometry.padding


def fingerprint(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), float(tensor.double().sum()), float(tensor.double().square().sum())


def test_an_archive_without_code(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", b"\x80\x02c__torch__\nNet\n)\x81}(X\x01\x00\x00\x00aNub.")
    assert load.__name__ == "load"
    assert path.exists()
