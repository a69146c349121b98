"""A claim about inputs in a range is none about samples outside of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from convsv_cli import certify
from convsv_cli.errors import UsageError
from tests.support.onnx_models import graph_model

NODES = [helper.make_node("Gemm", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
MEAN, STD = (0.5,), (0.25,)


def files(folder: Path, x: list[float]) -> tuple[Path, Path]:
    onnx.save(graph_model(NODES, {"x": [1, 2]}, {"w": np.eye(2, dtype=np.float32)}), folder / "net.onnx")
    np.savez(folder / "data.npz", x=np.array([x], np.float32), y=np.array([0]))
    return folder / "net.onnx", folder / "data.npz"


@pytest.mark.parametrize("x", [[-0.5, -1.0], [1.5, 1.4], [2.0, 0.1]])
def test_samples_outside_are_an_error(x: list[float], tmp_path: Path) -> None:
    path, data = files(tmp_path, x)
    with pytest.raises(UsageError, match="its samples leave the range 0 to 1"):
        certify(path, data, pixel_range=(0.0, 1.0), eps=0.1, network_effort="quick")


def test_the_range_is_of_what_comes_before_the_normalization(tmp_path: Path) -> None:
    path, data = files(tmp_path, [1.0, 0.1])
    found = certify(
        path,
        data,
        pixel_range=(0.0, 1.0),
        input_mean=MEAN,
        input_std=STD,
        eps=0.1,
        effort="none",
        network_effort="quick",
    )
    assert found.certified(0.1) == 1
