"""Resize and Upsample along random axes in every mode, against onnxruntime."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from convsv_cli.lipschitz.axis_matrices import AxisMatrix
from convsv_cli.lipschitz.operation import SIZES, UnboundedError
from convsv_cli.lipschitz.rules.resizing.axis import Filter, Stretch, resampled
from convsv_cli.numerics.intervals import Range
from tests.support.single_nodes import Single, check_linear, ints

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
CLOSE = 2e-5  # onnxruntime has coordinates in single precision


def resize(random: np.random.Generator, attributes: dict[str, object], opset: int = 19) -> Single:
    """An image of random size, resized by random scales or to random sizes."""
    shape = (1, 1, *(int(size) for size in random.integers(1, 8, 2)))
    constants: dict[int, np.ndarray] = {}
    if random.integers(0, 2):
        scales = [*random.choice([0.5, 0.6, 1, 1.5, 2, 3, 2.3, 1 / 3, 4], 2)]
        least = [1 / size for size in shape[2:]]
        constants[2] = np.array([1, 1, *np.maximum(scales, least)], np.float32)
    else:
        constants[3] = ints(1, 1, *random.integers(1, 16, 2))
    if attributes["coordinate_transformation_mode"] == "tf_crop_and_resize":
        start, end = random.uniform(-0.2, 0.6, 2), random.uniform(0.4, 1.2, 2)
        constants[1] = np.array([0, 0, *start, 1, 1, *end], np.float32)
        attributes = attributes | {"extrapolation_value": float(random.integers(-3, 3))}
    return Single(
        op="Resize",
        moving={0: shape},
        constants=constants,
        attributes=attributes,
        dtype="float32",
        opset=opset,
    )


def check(single: Single, *, exact: bool = True) -> None:
    """Equal, unless an axis of scale 1 is cropped: there runtimes do not agree."""
    crop = single.attributes["coordinate_transformation_mode"] == "tf_crop_and_resize"
    unchanged = any(a == b for a, b in zip(single.moving[0][2:], single.result_shape[2:], strict=True))
    check_linear(single, exact=exact and not (crop and unchanged), tolerance=CLOSE)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("nearest", NEAREST)
def test_nearest(coordinates, seed, nearest):
    attributes = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    single = resize(np.random.default_rng(seed), attributes)
    check(single)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("seed", range(14))
def test_linear(coordinates, seed):
    attributes = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    check(resize(np.random.default_rng(seed), attributes))


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("seed", range(14))
@pytest.mark.parametrize("exclude", [0, 1])
def test_cubic(coordinates, seed, exclude):
    random = np.random.default_rng(seed)
    attributes = {
        "mode": "cubic",
        "coordinate_transformation_mode": coordinates,
        "exclude_outside": exclude,
        "cubic_coeff_a": float(random.choice([-0.75, -0.5])),
    }
    check(resize(random, attributes))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("coordinates", COORDINATES[:-1])
@pytest.mark.parametrize("seed", range(6))
def test_antialias(mode, exclude, coordinates, seed):
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "exclude_outside": exclude,
        "antialias": 1,
    }
    check(resize(np.random.default_rng(seed), attributes))


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("seed", range(8))
def test_some_axes_and_their_ratio(policy, mode, seed):
    random = np.random.default_rng(seed)
    shape = (1, 1, *(int(size) for size in random.integers(2, 7, 2)))
    sizes = random.integers(2, 14, 2)
    axes = [2, -1] if policy == "stretch" else [2, 3]  # onnxruntime takes no negative ones with a policy
    single = Single(
        op="Resize",
        moving={0: shape},
        constants={3: ints(*sizes)},
        attributes={"axes": axes, "keep_aspect_ratio_policy": policy, "mode": mode},
        dtype="float32",
        opset=19,
    )
    check_linear(single, exact=mode != "nearest", tolerance=CLOSE)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_axes_counted_from_the_end_that_keep_their_ratio(policy):
    """Onnxruntime gives its input as it is, not the shape that ONNX has for it."""
    single = Single(
        op="Resize",
        moving={0: (1, 1, 4, 6)},
        constants={3: ints(2, 3)},
        attributes={"axes": [-2, -1], "keep_aspect_ratio_policy": policy, "mode": "linear"},
        dtype="float32",
        opset=19,
    )
    assert single.result_shape == (1, 1, 4, 6)
    with pytest.raises(UnboundedError, match="do not agree"):
        single.rule()


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("scale", [1.0, 1.2])
def test_a_crop_of_the_same_size(mode, scale):
    """Onnxruntime leaves it as it is, whatever its scale is."""
    single = Single(
        op="Resize",
        moving={0: (1, 1, 2, 2)},
        constants={
            1: np.array([0, 0, 0.3, 0.3, 1, 1, 1.1, 1.1], np.float32),
            2: np.array([1, 1, scale, scale], np.float32),
        },
        attributes={"coordinate_transformation_mode": "tf_crop_and_resize", "mode": mode},
        dtype="float32",
        opset=11,
    )
    check_linear(single, exact=False)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(2, 3), (1.5, 1), (2.3, 4), (0.5, 0.6), (0.4, 2)])
@pytest.mark.parametrize(("op", "opset"), [("Upsample", 7), ("Upsample", 9), ("Resize", 10)])
def test_old_versions(mode, scales, op, opset):
    if op == "Upsample" and min(scales) < 1:
        scales = (1 / scales[0], max(scales[1], 1 / scales[1]))
    given = {"scales": [1.0, 1.0, *scales]}
    constants = {} if opset == 7 else {1: np.array(given["scales"], np.float32)}
    single = Single(
        op=op,
        moving={0: (1, 1, 5, 6)},
        constants=constants,
        attributes={"mode": mode} | (given if opset == 7 else {}),
        dtype="float32",
        opset=opset,
    )
    check_linear(single, exact=min(scales) >= 1, tolerance=CLOSE)


def test_half_pixel_for_nearest():
    attributes = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"}
    constants = {1: np.zeros(0, np.float32), 2: np.array([1, 1, 2, 0.6], np.float32)}
    check_linear(
        Single(
            op="Resize",
            moving={0: (1, 1, 4, 5)},
            constants=constants,
            attributes=attributes,
            dtype="float32",
            opset=11,
        )
    )


def norm(before: int, after: int, coordinates: str, how: Filter) -> float:
    stretch = Stretch(before=before, after=after, scale=Fraction(after, before), mode=coordinates)
    return resampled(stretch, how).norm()


def test_norms_by_hand():
    """Of OPERATORS.md."""
    assert math.isclose(norm(5, 15, "half_pixel", Filter(mode="nearest", nearest="floor")), 2.0)
    assert norm(100, 200, "half_pixel", Filter(mode="linear")) == pytest.approx(math.sqrt(2), abs=1e-3)
    assert math.isclose(norm(7, 14, "asymmetric", Filter(mode="nearest", nearest="floor")), math.sqrt(2))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_large_axes_are_bounded_without_their_matrix(mode):
    small, large = (norm(size, 3 * size, "half_pixel", Filter(mode=mode)) for size in (300, 6000))
    assert small * (1 - 1e-3) < large < 1.5 * small


def test_ties_that_rounding_breaks_count_both_ways():
    """5 / (5/3) = 3 in exact arithmetic; a runtime has 5/3 in single precision, and may read entry 2."""
    stretch = Stretch(before=6, after=10, scale=Fraction(5, 3), mode="asymmetric")
    matrix = resampled(stretch, Filter(mode="nearest", nearest="floor"))
    assert len(matrix.rows) == 11
    assert {2, 3} <= set(matrix.columns.tolist())


def test_what_is_not_known():
    constants = {2: np.array([1, 1, 2, 2], np.float32)}
    single = Single(op="Resize", moving={0: (1, 1, 4, 5)}, constants=constants, dtype="float32")
    assert single.rule(shapes={0: (None, None, 4, 5)}) == single.rule()
    with pytest.raises(UnboundedError, match="shape of 'x0' is not known") as caught:
        single.rule(shapes={0: (1, 1, None, 5)})
    assert caught.value.lacks == SIZES
    with pytest.raises(UnboundedError, match="varies"):
        single.rule(discrete=[2])
    with pytest.raises(UnboundedError, match="unknown to convsv"):
        norm(3, 6, "diagonal", Filter(mode="linear"))
    with pytest.raises(UnboundedError, match="antialiasing"):
        norm(6, 3, "half_pixel", Filter(mode="nearest", antialias=True))
    with pytest.raises(UnboundedError, match="far from"):
        norm(3, 6, "half_pixel", Filter(mode="cubic", a=-99.0))
    assert single.range(Range(lower=1, upper=2)) == Range(lower=1, upper=2)


@pytest.mark.parametrize("seed", range(20))
def test_norms_of_sparse_matrices(seed):
    """Entries at the same place add up."""
    random = np.random.default_rng(seed)
    shape = tuple(int(size) for size in random.integers(1, 9, 2))
    count = int(random.integers(1, 30))
    rows, columns = (random.integers(0, size, count) for size in shape)
    weights = random.standard_normal(count)
    dense = np.zeros(shape)
    np.add.at(dense, (rows, columns), weights)
    matrix = AxisMatrix(shape=shape, rows=rows, columns=columns, weights=weights)
    exact = float(np.linalg.norm(dense, 2))
    assert exact * (1 - 1e-12) <= matrix.norm()
    positive = AxisMatrix(shape=shape, rows=rows, columns=columns, weights=np.abs(weights))
    np.add.at(dense := np.zeros(shape), (rows, columns), np.abs(weights))
    assert positive.norm() == pytest.approx(float(np.linalg.norm(dense, 2)), rel=1e-8)
