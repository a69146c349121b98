"""The shipped sample model that is certified by its curvature, in both of its forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from convsv_cli.certification.curvature_bounds import curvature_bounds
from convsv_cli.certification.routes.curvature import curvature_radii
from sample_models import mnist, smooth
from sample_models.chains import chain
from tests.support import runtime


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "sample_models"


@pytest.fixture
def model(folder: Path) -> nn.Sequential:
    model = smooth.network(1, 28, 7)
    model.load_state_dict(torch.load(folder / "mnist_curvature.pt", weights_only=True))
    return model


def test_both_forms_are_small_and_plain(folder: Path) -> None:
    graph = folder / "mnist_curvature.onnx"
    assert graph.stat().st_size + (folder / "mnist_curvature.pt").stat().st_size <= 7e5
    assert [node.op_type for node in onnx.load(graph).graph.node] == ["Conv", "Softplus", "Flatten", "Gemm"]
    assert str(folder.parent).encode() not in graph.read_bytes()


def test_the_graph_is_written_from_the_weights(folder: Path, model: nn.Sequential) -> None:
    results = ("filtered", "hidden", "features", "logits")
    written = chain(model, "mnist_curvature", (1, 28, 28), results)
    assert written == onnx.load(folder / "mnist_curvature.onnx")


@pytest.mark.parametrize("count", [1, 5])
def test_both_forms_compute_the_same(folder: Path, model: nn.Sequential, count: int) -> None:
    images = torch.rand(count, 1, 28, 28)
    session = runtime.session(folder / "mnist_curvature.onnx")
    logits = session.run(None, {"image": images.numpy()})[0]
    np.testing.assert_allclose(logits, model(images).detach().numpy(), atol=1e-4)


def test_it_certifies_as_much_as_its_section_says(shared: Path, folder: Path, model: nn.Sequential) -> None:
    images, labels = mnist.load(shared / "data/mnist10k.npz", "test")
    x, y = images[:100].double() / 255, labels[:100]
    bounds = curvature_bounds(model, input_shape=(1, 28, 28))
    error = 2.1e-9 * float(model[3].weight.detach().abs().sum(1).max())  # of torch's Softplus above 20
    radii = curvature_radii(model, x, bounds, logit_error=error, rounds=8, steps=5)
    right = model.double()(x).argmax(1) == y
    certified = int((right & (radii > 0.5)).sum())
    assert f"**{certified} of the first 100 test images**" in (folder / "README.md").read_text()
    assert certified >= 85
