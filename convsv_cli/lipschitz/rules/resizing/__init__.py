"""Resize and Upsample: the product of the norms of the matrices along each axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from convsv_cli.lipschitz.axis_matrices import AxisMatrix
from convsv_cli.lipschitz.operands import first, size_of
from convsv_cli.lipschitz.operation import Operation, Rule, Tensor, UnboundedError
from convsv_cli.lipschitz.rules.resizing.axis import Filter, Stretch, resampled
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import times


def resized(operation: Operation) -> float:
    """Exact in real arithmetic; see `resampled` for the ties of nearest that rounding may break either way.

    The larger counts where runtimes do as they please: nearest of Upsample rounds down, or up where
    the axis shrinks; and onnxruntime does not crop axes whose size stays.
    """
    source, norms = first(operation), [1.0]
    for stretch in stretches(operation).values():
        norms.append(max((matrix.norm() for matrix in matrices(operation, stretch)), default=1.0))
        if stretch.kept:
            norms[-1] = max(1.0, norms[-1])
    return times(*norms, source.lipschitz)


def matrices(operation: Operation, stretch: Stretch) -> list[AxisMatrix]:
    """Those of an axis, as runtimes have them; none where it stays as it is.

    Args:
        operation: a Resize or Upsample.
        stretch: one of its `stretches`.

    Raises:
        UnboundedError: a mode that convsv does not know.
    """
    if stretch.kept and not stretch.crops:
        return []
    return [resampled(stretch, how) for how in _filters(operation)]


def _filters(operation: Operation) -> list[Filter]:
    mode = operation.attribute("mode", "nearest")
    if operation.node.op == "Upsample":
        mode = "linear" if mode == "bilinear" else mode
        return [Filter(mode=mode, nearest=nearest) for nearest in ("floor", "ceil")[: _roundings(operation)]]
    return [
        Filter(
            mode=mode,
            nearest=operation.attribute("nearest_mode", "round_prefer_floor"),
            a=operation.attribute("cubic_coeff_a", -0.75),
            antialias=bool(operation.attribute("antialias", 0)),
            exclude_outside=bool(operation.attribute("exclude_outside", 0)),
        )
    ]


def _roundings(operation: Operation) -> int:
    return 2 if any(scale < 1 for scale in _scales(operation) or ()) else 1


def stretches(operation: Operation) -> dict[int, Stretch]:
    """What is done to each axis that the arguments name and that has entries, by the axis as it is named.

    Args:
        operation: a Resize or Upsample.

    Raises:
        UnboundedError: something that they depend on is not known.
    """
    source, old = operation.input(0), operation.node.op == "Upsample"
    mode = "asymmetric" if old else operation.attribute("coordinate_transformation_mode", "half_pixel")
    scales = _scales(operation)
    if scales is None:
        scales = _scales_from_sizes(operation)
    axes = operation.attribute("axes", tuple(range(len(scales))))
    crops = mode == "tf_crop_and_resize"
    if crops and operation.attribute("antialias", 0):
        raise UnboundedError("convsv knows no antialiasing of a crop")
    regions = _roi(operation, len(scales)) if crops else ((Fraction(0), Fraction(1)),) * len(scales)
    found = {
        axis: Stretch(
            before=size_of(source, axis), after=_after(operation, axis), scale=scale, mode=mode, roi=region
        )
        for axis, scale, region in zip(axes, scales, regions, strict=True)
        if crops or scale != 1 or _argument(operation, "sizes") is not None
    }
    return {axis: stretch for axis, stretch in found.items() if stretch.before and stretch.after}


def _after(operation: Operation, axis: int) -> int:
    name, shape = operation.outputs[0]
    return size_of(Tensor(name=name, bound=math.inf, shape=shape), axis)


def _argument(operation: Operation, name: str) -> Tensor | None:
    """An input that is there and not empty."""
    newer = {"roi": 1, "scales": 2, "sizes": 3}
    older = {"scales": 1}
    index = (older if operation.node.op == "Upsample" else newer).get(name)
    tensor = None if index is None else operation.optional(index)
    return None if tensor is None or tensor.shape == (0,) else tensor


def _scales(operation: Operation) -> tuple[Fraction, ...] | None:
    """As given; None where the sizes are."""
    tensor = _argument(operation, "scales")
    stored: Iterable[float] = operation.attribute("scales", ()) if tensor is None else tensor.value().ravel()
    scales = tuple(Fraction(float(scale)) for scale in stored)
    if any(scale <= 0 for scale in scales):
        raise UnboundedError("a scale that is not positive")
    return scales or None


def _scales_from_sizes(operation: Operation) -> tuple[Fraction, ...]:
    sizes, source = _argument(operation, "sizes"), operation.input(0)
    if sizes is None:
        raise UnboundedError("it has neither scales nor sizes")
    policy = operation.attribute("keep_aspect_ratio_policy", "stretch")
    if sizes.held and policy == "stretch":
        axes = operation.attribute("axes", tuple(range(len(source.sizes()))))
        wanted = [_after(operation, axis) for axis in axes]
    else:
        wanted = sizes.value().ravel().tolist()
        axes = operation.attribute("axes", tuple(range(len(wanted))))
    if policy != "stretch" and min(axes, default=0) < 0:
        raise UnboundedError(
            "runtimes do not agree on axes that keep their ratio and are counted from the end"
        )
    before = [size_of(source, axis) for axis in axes]
    scales = [Fraction(max(1, int(size)), max(1, old)) for size, old in zip(wanted, before, strict=True)]
    if policy == "stretch":
        return tuple(scales)
    if policy not in ("not_larger", "not_smaller"):
        raise UnboundedError(f"its keep_aspect_ratio_policy {policy!r} is unknown to convsv")
    return (min(scales) if policy == "not_larger" else max(scales),) * len(scales)


def _roi(operation: Operation, count: int) -> tuple[tuple[Fraction, Fraction], ...]:
    tensor = _argument(operation, "roi")
    if tensor is None:
        raise UnboundedError("its region of interest is missing")
    ends = [Fraction(float(end)) for end in tensor.value().ravel()]
    return tuple(zip(ends[:count], ends[count:], strict=True))


def _range(operation: Operation) -> Range:
    """Weights add up to one: entries stay, times the absolute weights, around the middle."""
    source = operation.input(0).range
    if operation.attribute("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        outside = float(operation.attribute("extrapolation_value", 0.0))
        source = source.hull(Range(lower=outside, upper=outside))
    if operation.attribute("mode", "nearest") != "cubic":
        return source
    if not source.finite:
        return ANYTHING
    each = [matrix for stretch in stretches(operation).values() for matrix in matrices(operation, stretch)]
    wider = math.prod(max(1.0, matrix.largest_row()) for matrix in each)
    middle, half = (source.lower + source.upper) / 2, (source.upper - source.lower) / 2 * wider
    return outward_range(middle - half, middle + half)


RULES = dict.fromkeys(("Resize", "Upsample"), Rule(lipschitz=resized, range=_range))
