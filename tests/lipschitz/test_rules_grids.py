"""Images that are sampled, points that are made, and pairs that are turned, against matrices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.rules import RULES
from tests.support.single_nodes import Single, check_linear, check_range

PADDINGS = ("zeros", "border", "reflection")


def grid(seed: int, *shape: int, spread: float = 1.3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-spread, spread, shape).astype(np.float32)


def samples(points: np.ndarray, image: tuple[int, ...], **attributes: object) -> Single:
    return Single(
        op="GridSample", moving={0: image}, constants={1: points}, attributes=attributes, dtype="float32"
    )


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("aligned", [0, 1])
def test_an_image_at_fixed_points(mode: str, padding: str, aligned: int) -> None:
    points = grid(0, 2, 3, 4, 2)
    check_linear(
        samples(points, (2, 1, 4, 5), mode=mode, padding_mode=padding, align_corners=aligned), tolerance=1e-4
    )


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_volume_at_fixed_points(mode: str) -> None:
    check_linear(samples(grid(1, 1, 2, 3, 2, 3), (1, 2, 3, 2, 4), mode=mode), tolerance=1e-4)


def test_points_that_are_as_near_to_two_entries_may_read_either() -> None:
    points = np.zeros((1, 1, 2, 2), np.float32)
    points[..., 0] = (-0.5, 0.0)  # entry 0 or 1, and 1 or 2
    single = samples(points, (1, 1, 1, 4), mode="nearest")
    assert single.norm() * (1 - 1e-6) <= single.rule() <= math.sqrt(2) * (1 + 1e-12)


def test_points_that_vary() -> None:
    with pytest.raises(UnboundedError, match="varies"):
        samples(grid(0, 1, 3, 4, 2), (1, 1, 4, 5)).rule(discrete=[1])
    with pytest.raises(UnboundedError, match="NaN"):
        samples(grid(0, 1, 3, 4, 2) * np.nan, (1, 1, 4, 5)).rule()


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 1, 2, 3, 4), (1, 1, 3, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("aligned", [0, 1])
def test_points_of_an_affine_map(size: tuple[int, ...], aligned: int) -> None:
    count = len(size) - 2
    single = Single(
        op="AffineGrid",
        moving={0: (size[0], count, count + 1)},
        constants={1: np.array(size)},
        attributes={"align_corners": aligned},
        dtype="float32",
    )
    check_linear(single, exact=not aligned or 1 not in size[2:])
    operation = single.operation()
    unknown = replace(operation, inputs=(operation.inputs[0], replace(operation.inputs[1], read=None)))
    assert RULES["AffineGrid"].lipschitz(unknown) == single.rule()


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("dim", [0, 4])
def test_pairs_that_are_turned(interleaved: int, dim: int) -> None:
    angles = np.random.default_rng(0).standard_normal((1, 3, (dim or 6) // 2))
    scales = np.linspace(0.5, 1.5 if interleaved else 0.9, angles.size).reshape(angles.shape)
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": dim}
    if dim:
        attributes["num_heads"] = 2
    single = Single(
        op="RotaryEmbedding",
        moving={0: (1, 2, 3, 6)},
        constants={
            1: (scales * np.cos(angles)).astype(np.float32),
            2: (scales * np.sin(angles)).astype(np.float32),
        },
        dtype="float32",
        attributes=attributes,
        opset=23,
    )
    check_linear(single)


def test_updates_that_take_the_place_of_entries() -> None:
    single = Single(
        op="TensorScatter",
        moving={0: (2, 4, 3), 1: (2, 2, 3)},
        constants={2: np.array([0, 2])},
        attributes={"axis": 1},
        opset=24,
        dtype="float32",
    )
    assert single.norm() == pytest.approx(1.0)
    assert single.rule() == pytest.approx(math.sqrt(2))
    check_range(single)
