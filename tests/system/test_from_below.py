"""What no bound can be below: torch runs graphs as onnxruntime does, and searches find what there is."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.autograd.functional import jacobian

from benchmarks import architectures
from benchmarks.dense_chains import random_chain, save_chain
from benchmarks.jacobian_search import jacobian_norms, largest_jacobian, unit
from benchmarks.lipsdp import lipsdp_neuron
from benchmarks.network_plan import cases
from benchmarks.slope_search import floor
from benchmarks.sum_rule import sum_rule
from benchmarks.torch_graph import Slope, TorchGraph, Window
from convsv_cli import audit
from tests.support import runtime

Build = Callable[[Path], Path]
SMALL: dict[str, Build] = {
    "resnet20": partial(architectures.resnet20, width=4, n=16),
    "resnet50": partial(architectures.resnet50, width=2, n=32),
    "resnet50 normalised": partial(architectures.resnet50, width=2, n=32, normalised=True),
    "mobilenet_v2": partial(architectures.mobilenet_v2, narrower=8, n=32),
    "densenet": partial(architectures.densenet121, growth=4, blocks=(2, 2), n=32),
    "unet": partial(architectures.unet, width=2, n=16),
}
EACH = pytest.mark.parametrize("name", SMALL)


def check_values(path: Path) -> TorchGraph:
    """The graph, which is valid and computes what onnxruntime does."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    graph = TorchGraph(path)
    x = torch.randn(1, *graph.shape)
    session = runtime.session(path)
    (expected,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(graph.values(x).numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    return graph


@EACH
def test_random_networks_are_bounded_from_both_sides(name: str, tmp_path: Path) -> None:
    path = SMALL[name](tmp_path / "network.onnx")
    graph = check_values(path)
    bound = audit(path, network_effort="quick").bound
    assert bound.status == "bounded", bound.reason
    least = floor(graph, starts=1, steps=20)
    seen = largest_jacobian(graph, torch.randn(2, *graph.shape), phases=1, steps=2)
    assert 0 < least <= bound.lipschitz * (1 + 1e-4)
    assert 0 < seen <= bound.lipschitz * (1 + 1e-4)
    assert bound.log10 <= sum_rule(path).bound + 1e-9


def test_trained_networks_are_read(shared: Path, tmp_path: Path) -> None:
    for case in cases(shared):
        if not case.large:
            graph = check_values(case.path(tmp_path / "network.onnx"))
            assert case.points(shared, graph.shape).shape == (16, *graph.shape)


def test_the_real_kernels_are_in_the_graph(shared: Path, tmp_path: Path) -> None:
    path = architectures.resnet18(tmp_path / "real.onnx", shared, n=32)
    check_values(path)
    held = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    files = list((shared / architectures.RESNET18).glob("*.weight.npy"))
    assert len(files) == 17
    for file in files:
        assert np.array_equal(held[file.stem], np.load(file))
    assert len([name for name in held if name.endswith(".weight")]) == 21


def test_a_trained_cifar_resnet_is_as_deep_as_its_name_says(shared: Path, tmp_path: Path) -> None:
    for depth in (20, 32):
        (checkpoint,) = (shared / architectures.CIFAR_RESNETS).glob(f"resnet{depth}-*.th")
        path = architectures.cifar_resnet(tmp_path / "network.onnx", checkpoint)
        ops = [node.op_type for node in onnx.load(path).graph.node]
        assert ops.count("Conv") + ops.count("Gemm") == depth


@pytest.mark.parametrize("seed", range(3))
def test_the_floor_of_a_chain_is_what_lipsdp_gives(seed: int, tmp_path: Path) -> None:
    """Not above it, and for these sizes within a few percent below."""
    weights = random_chain((6, 10, 10, 4), seed)
    graph = TorchGraph(save_chain(tmp_path / "chain.onnx", weights))
    least, program = floor(graph), lipsdp_neuron(weights, solver="CLARABEL")
    assert 0.9 * program.bound < least <= program.bound * (1 + 1e-5)


def test_the_linearised_graph_is_the_jacobian(tmp_path: Path) -> None:
    """With the slopes and the windows of a point."""
    graph = TorchGraph(SMALL["unet"](tmp_path / "network.onnx"))
    point, v = torch.randn(1, *graph.shape), torch.randn(1, *graph.shape)
    tensors = _inputs_of_nonlinear_nodes(graph, point)

    def at_point(_: str, piece: Slope | Window, z: torch.Tensor) -> torch.Tensor:
        seen = tensors.pop(0)
        if isinstance(piece, Slope):
            return (seen > 0) * z
        found = piece.largest(seen)
        return z.flatten(2).gather(2, found.flatten(2)).view(found.shape)

    image = graph.linear(v, at_point)
    assert not tensors
    _, expected = torch.func.jvp(graph.values, (point,), (v,))
    assert torch.allclose(image, expected, rtol=1e-4, atol=1e-5)


def _inputs_of_nonlinear_nodes(graph: TorchGraph, point: torch.Tensor) -> list[torch.Tensor]:
    """In order; the graph has no constant terms, so that the linearised one can compute values too."""
    seen: list[torch.Tensor] = []

    def apply(_: str, piece: Slope | Window, z: torch.Tensor) -> torch.Tensor:
        seen.append(z)
        if isinstance(piece, Slope):
            return z.relu()
        found = piece.largest(z)
        return z.flatten(2).gather(2, found.flatten(2)).view(found.shape)

    graph.linear(point, apply)
    return seen


def test_norms_of_jacobians_are_those_of_dense_ones(tmp_path: Path) -> None:
    graph = TorchGraph(save_chain(tmp_path / "chain.onnx", random_chain((6, 10, 10, 4), 0)))
    points = torch.randn(5, 6)
    norms, v = jacobian_norms(graph, points, unit(torch.randn(5, 6)), iterations=100)
    for point, norm, direction in zip(points, norms, v, strict=True):
        dense = jacobian(graph.values, point[None])[0, :, 0]
        assert float(norm) == pytest.approx(float(torch.linalg.matrix_norm(dense, 2)), rel=1e-4)
        assert float((dense @ direction).norm()) == pytest.approx(float(norm), rel=1e-4)


def test_the_search_finds_more_than_its_starts(tmp_path: Path) -> None:
    weights = random_chain((6, 20, 20, 4), 0)
    graph = TorchGraph(save_chain(tmp_path / "chain.onnx", weights))
    points = torch.randn(4, 6)
    at_starts, _ = jacobian_norms(graph, points, unit(torch.randn(4, 6)), iterations=50)
    found = largest_jacobian(graph, points, phases=2, steps=30)
    assert 1.1 * float(at_starts.max()) < found <= math.prod(np.linalg.norm(w, 2) for w in weights)
