"""The shipped sample models, in both of their forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from convsv_cli import Audit, audit
from sample_models import cifar10
from sample_models.certificate import certified_radii
from sample_models.resnet import ResNet
from tests.support import runtime

TWIN = "resnet20_regularised"
MODELS = {"resnet20": True, TWIN: False}
RADIUS = 36 / 255


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "sample_models"


def loaded(folder: Path, name: str) -> ResNet:
    model = ResNet(normalised=MODELS[name]).eval()
    model.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return model


def run(graph: Path, images: torch.Tensor) -> torch.Tensor:
    session = runtime.session(graph)
    return torch.from_numpy(session.run(None, {"image": images.numpy()})[0])


def audited(path: Path, **options: bool) -> Audit:
    """Without a search: layers are looked at here."""
    return audit(path, network_effort="quick", **options)


@pytest.mark.parametrize("name", MODELS)
def test_both_forms_together_are_small(folder: Path, name: str) -> None:
    assert sum((folder / f"{name}.{form}").stat().st_size for form in ("onnx", "pt")) <= 3e6


@pytest.mark.parametrize("name", MODELS)
def test_both_forms_compute_the_same(folder: Path, name: str) -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = run(folder / f"{name}.onnx", images).numpy()
    np.testing.assert_allclose(logits, loaded(folder, name)(images).detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_both_forms_give_the_same_figures(folder: Path, name: str) -> None:
    graph, state = (audited(folder / f"{name}.{form}") for form in ("onnx", "pt"))
    by_name = {layer.name: layer for layer in state.layers}
    assert {layer.name for layer in graph.layers} == set(by_name)
    stride_1 = audited(folder / f"{name}.onnx", as_stride_1=True)
    for layer in stride_1.layers:
        for figure, measurement in layer.measurements:
            assert measurement.value == pytest.approx(by_name[layer.name].measurement(figure).value, rel=1e-6)
    for layer in graph.layers:
        if set(layer.stride) <= {1}:
            for figure, measurement in layer.measurements:
                assert measurement.value == pytest.approx(
                    by_name[layer.name].measurement(figure).value, rel=1e-6
                )


def test_the_twin_has_the_same_layers_and_no_batch_norm(folder: Path) -> None:
    original, twin = (audited(folder / f"{name}.onnx") for name in MODELS)
    assert [layer.name for layer in original.layers] == [layer.name for layer in twin.layers]
    ops = {node.op_type for node in onnx.load(folder / f"{TWIN}.onnx").graph.node}
    assert "BatchNormalization" not in ops
    assert "Conv" in ops


@pytest.mark.long
def test_the_twins_bound_proves_something(folder: Path, shared: Path) -> None:
    """Of the first test images, which the training has not seen."""
    images, labels = (part[:300] for part in cifar10.load(shared / "data/cifar10_jpeg.npz", "test"))
    graph = folder / f"{TWIN}.onnx"
    logits = run(graph, images.float() / 255)
    right = logits.argmax(1) == labels
    certified = certified_radii(graph, images[right], labels[right]) >= RADIUS
    assert right.float().mean() > 0.5
    assert certified.sum() > 0.33 * len(images)
