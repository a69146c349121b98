"""Pooling and resizing, of one to three axes, with a batch or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from convsv_cli import limits
from convsv_cli.loaders.pt2.translation.writer import REALS, Build, Call, UntranslatedError

UPSAMPLED = {"nearest": "nearest", "bilinear": "linear", "linear": "linear", "trilinear": "linear"}


def _window(call: Call, axes: int) -> dict[str, tuple[int, ...]]:
    """Kernel, strides and pads of a pooling, an entry for each axis."""
    kernel = _each(call.wholes("kernel_size"), axes)
    return {
        "kernel_shape": kernel,
        "strides": _each(call.wholes("stride"), axes) if call.wholes("stride") else kernel,
        "pads": _each(call.wholes("padding", (0,)), axes) * 2,
    }


def _each(values: Sequence[int], axes: int) -> tuple[int, ...]:
    return tuple(values) * axes if len(values) == 1 else tuple(values)


def _axes(call: Call) -> int:
    """Spatial axes, which the operator's name says."""
    return next(axes for axes in (1, 2, 3) if f"{axes}d" in call.node.target)


def _batched(call: Call, axes: int) -> tuple[str, bool]:
    """The data with a batch, and whether that was missing."""
    shape = call.shape()
    if len(shape) == axes + 2:
        return call.tensor(), False
    return call.reshaped(call.tensor(), (1, *shape)), True


def _max_pooled(call: Call) -> str | Sequence[str]:
    axes = _axes(call)
    data, alone = _batched(call, axes)
    made = call.emit(
        "MaxPool",
        data,
        **_window(call, axes),
        dilations=_each(call.wholes("dilation", (1,)), axes),
        ceil_mode=int(call.flag("ceil_mode")),
    )
    made = call.reshaped(made, call.result_shape()) if alone else made
    return [made, ""] if "with_indices" in call.node.target else made


def _mean_pooled(call: Call) -> str:
    if call.has("divisor_override"):
        raise UntranslatedError("a mean with a divisor of its own")
    axes = _axes(call)
    data, alone = _batched(call, axes)
    made = call.emit(
        "AveragePool",
        data,
        **_window(call, axes),
        ceil_mode=int(call.flag("ceil_mode")),
        count_include_pad=int(call.flag("count_include_pad", default=True)),
    )
    return call.reshaped(made, call.result_shape()) if alone else made


def _adaptive(op: str) -> Build:
    """To a size: windows that are all alike where that divides the input's; one for all where it is 1."""

    def build(call: Call) -> str | Sequence[str]:
        axes = _axes(call)
        data, alone = _batched(call, axes)
        before, after = call.shape()[-axes:], call.result_shape()[-axes:]
        if set(after) == {1}:
            made = call.emit(f"Global{op}", data)
        elif all(a % b == 0 for a, b in zip(before, after, strict=True)):
            kernel = tuple(a // b for a, b in zip(before, after, strict=True))
            made = call.emit(op, data, kernel_shape=kernel, strides=kernel)
        else:
            made = _by_axes(call, op, data, before, after)
        made = call.reshaped(made, call.result_shape()) if alone else made
        return [made, ""] if len(call.node.outputs) == 2 else made

    return build


def _by_axes(call: Call, op: str, data: str, before: Sequence[int], after: Sequence[int]) -> str:
    """Windows of several sizes: a matrix of means for each axis."""
    if op != "AveragePool":
        raise UntranslatedError(f"windows of several sizes, from {tuple(before)} to {tuple(after)}")
    rank = len(before) + 2
    for axis, (size, count) in enumerate(zip(before, after, strict=True), start=2):
        order = [*(each for each in range(rank) if each != axis), axis]
        matrix = call.writer.constant(_means(size, count), call.kind(), "means")
        made = call.emit("MatMul", call.transposed(data, order), matrix)
        data = call.transposed(made, [order.index(each) for each in range(rank)])
    return data


def _means(size: int, count: int) -> NDArray[np.float64]:
    """Of an adaptive pooling along one axis: [size, count]."""
    limits.hold(24 * size * count, "the windows of a pooling")
    at, cell = np.arange(size)[:, None], np.arange(count)
    inside = (at >= cell * size // count) & (at < -(-(cell + 1) * size // count))
    means: NDArray[np.float64] = inside / inside.sum(axis=0)
    return means


def _resized(call: Call) -> str:
    """Nearest, linear and cubic, to the size that the program says."""
    name = call.node.target.removeprefix("aten.")
    shape, exact = call.result_shape(), "exact" in name
    mode = "cubic" if "bicubic" in name else next(m for word, m in UPSAMPLED.items() if word in name)
    if "_aa" in name or mode == "cubic" or call.kind() not in REALS:
        raise UntranslatedError("a resize that is not translated")
    before = call.shape("self" if call.has("self") else "input")
    scales = _scales(call, len(shape) - 2)
    real = [b / a for a, b in zip(before[2:], shape[2:], strict=True)]
    if scales and any(abs(a - b) > 1e-9 * b for a, b in zip(scales, real, strict=True)):
        raise UntranslatedError("a resize by factors that do not divide its size")
    corners = call.flag("align_corners")
    way = "asymmetric" if mode == "nearest" and not exact else "half_pixel"
    return call.emit(
        "Resize",
        call.tensor("self" if call.has("self") else "input"),
        "",
        "",
        call.integers(*shape),
        mode=mode,
        coordinate_transformation_mode="align_corners" if corners else way,
        nearest_mode=("round_prefer_ceil" if exact else "floor") if mode == "nearest" else None,
    )


def _scales(call: Call, axes: int) -> tuple[float, ...]:
    """The factors that are given, which may not be those of the sizes."""
    if call.has("scale_factors"):
        return call.numbers("scale_factors")
    names = ("scales",) if axes == 1 else ("scales_d", "scales_h", "scales_w")[-axes:]
    found = tuple(call.number(name) for name in names if call.has(name))
    return found if len(found) == axes else ()


def _sized(names: Sequence[str]) -> dict[str, Build]:
    return dict.fromkeys(names, _resized)


BUILDS: Mapping[str, Build] = {
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), _max_pooled),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), _max_pooled),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _mean_pooled),
    **{f"adaptive_avg_pool{n}d": _adaptive("AveragePool") for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive("AveragePool") for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive("MaxPool") for n in (1, 2, 3)},
    **_sized([f"upsample_nearest{n}d" for n in (1, 2, 3)]),
    **_sized([f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)]),
    **_sized(("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")),
}
