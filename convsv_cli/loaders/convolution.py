"""The geometry of a convolution by the names that torch has for its arguments, however a file stores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convsv_cli.model.layer import Geometry

CONVOLUTION_AXES = range(1, 4)
NO_AXES = "a weight with {} axes is not that of a one- to three-dimensional convolution"
MAX_STEP = 1 << 20
_PADDING_MODES = {"zeros", "reflect", "replicate", "circular"}


def torch_geometry(
    arguments: Mapping[Any, Any], shape: tuple[int, ...], *, module: bool = False
) -> Geometry | None:
    """The geometry of a convolution with these arguments; None where they fit no such weight.

    Args:
        arguments: stride, dilation and groups; transposed, padding, output_padding and padding_mode where
            they are not the defaults of torch. An output padding of None is unknown; then so is the padding.
        shape: of the weight.
        module: whether they are a module's, which can be called with an output size: that takes the place of
            an output padding.
    """
    axes = len(shape) - 2
    if axes not in CONVOLUTION_AXES:
        return None
    stride, dilation = (_entries(arguments.get(key), axes, 1) for key in ("stride", "dilation"))
    groups, mode = arguments.get("groups"), arguments.get("padding_mode", "zeros")
    transposed = arguments.get("transposed") is True
    further = arguments.get("output_padding", 0) if transposed else 0
    more = _entries(0 if further is None else further, axes, 0)
    if stride is None or dilation is None or more is None:
        return None
    padding = _padding(arguments.get("padding", 0), shape[2:], dilation)
    if padding is None or not isinstance(mode, str) or mode not in _PADDING_MODES:
        return None
    if type(groups) is not int or groups < 1 or not shape[0] or shape[0] % groups:
        return None
    return Geometry(
        stride=stride,
        dilation=dilation,
        groups=groups,
        transposed=transposed,
        padding=() if further is None else padding,
        padding_mode=mode,
        output_padding=more if any(more) else (),
        any_output=module and transposed,
    )


def convolution_op(arguments: Mapping[Any, Any]) -> str:
    """The ONNX operator type of a convolution with these arguments."""
    return Geometry(stride=(1,), transposed=arguments.get("transposed") is True).op


def _padding(value: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...] | None:  # noqa: ANN401
    """All beginnings, then all ends; "same" puts an odd element at the end."""
    if value == "valid":
        return (0,) * 2 * len(kernel)
    if value == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (*(total // 2 for total in totals), *(total - total // 2 for total in totals))
    padding = _entries(value, len(kernel), 0)
    return None if padding is None else padding * 2


def _entries(value: Any, axes: int, least: int) -> tuple[int, ...] | None:  # noqa: ANN401
    """One integer per axis, a single one standing for all; None for anything else."""
    values = (value,) * axes if type(value) is int else value
    if not isinstance(values, (tuple, list)):
        return None
    values = tuple(values) * axes if len(values) == 1 else tuple(values[: axes + 1])
    if len(values) != axes or any(type(n) is not int or not least <= n <= MAX_STEP for n in values):
        return None
    return values
