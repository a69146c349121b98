"""The shipped sample model, in both of its forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from convsv_cli import audit
from sample_models.resnet import ResNet


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "sample_models"


def test_both_forms_together_are_small(folder: Path) -> None:
    assert sum((folder / name).stat().st_size for name in ("resnet20.onnx", "resnet20.pt")) <= 3e6


def test_both_forms_compute_the_same(folder: Path) -> None:
    model = ResNet().eval()
    model.load_state_dict(torch.load(folder / "resnet20.pt", weights_only=True))
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(folder / "resnet20.onnx"))
    logits = session.run(None, {"image": images.numpy()})[0]
    np.testing.assert_allclose(logits, model(images).detach().numpy(), atol=1e-4)


def test_both_forms_give_the_same_figures(folder: Path) -> None:
    graph, state = (audit(folder / name) for name in ("resnet20.onnx", "resnet20.pt"))
    by_name = {layer.name: layer for layer in state.layers}
    assert {layer.name for layer in graph.layers} == set(by_name)
    stride_1 = audit(folder / "resnet20.onnx", as_stride_1=True)
    for layer in stride_1.layers:
        for name, measurement in layer.measurements:
            assert measurement.value == pytest.approx(by_name[layer.name].measurement(name).value, rel=1e-6)
    for layer in graph.layers:
        if set(layer.stride) <= {1}:
            for name, measurement in layer.measurements:
                assert measurement.value == pytest.approx(
                    by_name[layer.name].measurement(name).value, rel=1e-6
                )
