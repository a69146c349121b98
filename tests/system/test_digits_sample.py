"""The smallest shipped sample model, in both of its forms, and the digits that it is certified at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from sample_models import draw_digits, mnist, train_digits
from sample_models.chains import chain


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "sample_models"


@pytest.fixture(scope="module")
def model(folder: Path) -> nn.Sequential:
    model = train_digits.network()
    model.load_state_dict(torch.load(folder / "digits.pt", weights_only=True))
    return model.eval()


def test_all_of_it_is_small_and_plain(folder: Path) -> None:
    files = [folder / f"digits.{suffix}" for suffix in ("onnx", "pt", "npz")]
    assert sum(path.stat().st_size for path in files) <= 4.5e5
    operators = [node.op_type for node in onnx.load(files[0]).graph.node]
    assert operators == ["Conv", "Relu", "Conv", "Relu", "Flatten", "Gemm", "Relu", "Gemm"]


def test_the_graph_is_written_from_the_weights(folder: Path, model: nn.Sequential) -> None:
    written = chain(model, train_digits.NAME, train_digits.SHAPE, train_digits.RESULTS)
    assert written == onnx.load(folder / "digits.onnx")


def test_it_is_as_accurate_as_its_section_says(folder: Path, model: nn.Sequential) -> None:
    images, labels = mnist.load(folder / "digits.npz", "test")
    share = train_digits.accuracy(model, images, labels)
    assert (images.shape, images.dtype, len(labels)) == ((300, 1, 8, 8), torch.uint8, 300)
    assert f"**Test accuracy: {100 * share:.2f} %**" in (folder / "README.md").read_text()


def test_no_digit_is_in_both_halves(folder: Path) -> None:
    halves = [np.unique(mnist.load(folder / "digits.npz", half)[0], axis=0) for half in ("train", "test")]
    assert len(np.unique(np.concatenate(halves), axis=0)) == sum(map(len, halves))


def test_the_digits_are_those_that_the_script_draws(folder: Path) -> None:
    with np.load(folder / "digits.npz") as written:
        for name, values in draw_digits.both_halves().items():
            assert (written[name] == values).all()


@pytest.mark.exhaustive
def test_its_training_is_the_one_of_the_script(folder: Path) -> None:
    fit = train_digits.trained(*mnist.load(folder / "digits.npz", "train"))
    assert train_digits.accuracy(fit, *mnist.load(folder / "digits.npz", "test")) > 0.97
