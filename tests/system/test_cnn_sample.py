"""The shipped sample model that local certificates are for, in both of its forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from convsv_cli.certification.attack import margins, pgd
from sample_models import cifar10, cnn
from sample_models.chains import chain
from sample_models.train_cifar10_cnn import NAME, RADIUS, RESULTS
from tests.support import runtime

PLAIN = ["Conv", "Relu", "Conv", "Relu", "Flatten", "Gemm", "Relu", "Gemm"]


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "sample_models"


@pytest.fixture
def model(folder: Path) -> nn.Sequential:
    model = cnn.network()
    model.load_state_dict(torch.load(folder / f"{NAME}.pt", weights_only=True))
    return model


@pytest.mark.parametrize("form", ["onnx", "pt"])
def test_each_form_is_small_and_names_no_folder(folder: Path, form: str) -> None:
    path = folder / f"{NAME}.{form}"
    assert path.stat().st_size <= 1e6
    assert str(folder.parent).encode() not in path.read_bytes()


def test_the_graph_is_plain_and_written_from_the_weights(folder: Path, model: nn.Sequential) -> None:
    graph = onnx.load(folder / f"{NAME}.onnx")
    assert [node.op_type for node in graph.graph.node] == PLAIN
    assert chain(model, NAME, (3, 32, 32), RESULTS) == graph


@pytest.mark.parametrize("count", [1, 5])
def test_both_forms_compute_the_same(folder: Path, model: nn.Sequential, count: int) -> None:
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    session = runtime.session(folder / f"{NAME}.onnx")
    logits = session.run(None, {"image": images.numpy()})[0]
    np.testing.assert_allclose(logits, model(images).detach().numpy(), atol=1e-4)


def test_it_is_right_and_withstands_attacks(shared: Path, model: nn.Sequential) -> None:
    """On the first test images, which the training has not seen."""
    images, labels = (part[:200] for part in cifar10.load(shared / "data/cifar10_jpeg.npz", "test"))
    x = images.float() / 255
    moved = pgd(model, x, labels, radius=RADIUS, generator=torch.Generator().manual_seed(0), steps=20)
    right, withstands = (margins(model, each, labels) > 0 for each in (x, moved))
    assert right.float().mean() >= 0.58
    assert (right & withstands).float().mean() >= 0.55
