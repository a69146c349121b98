"""The real values that quantised ones stand for, as onnxruntime computes them."""

from __future__ import annotations

import numpy as np

from convsv_cli.loaders.onnx.tensors import Array


def dequantise(
    values: Array, scale: Array, zero_point: Array | None, *, axis: int, block_size: int, dtype: np.dtype
) -> Array:
    """`(values - zero_point) * scale`, rounded to float32 and then to `dtype`.

    Args:
        values: integers, or floats of eight bits and fewer.
        scale, zero_point: one; or one an entry of `axis`; or, with a positive `block_size`, one for so many
            entries of it.
        axis: as DequantizeLinear has it; negative from the end.
        block_size: 0 where there are no blocks.
        dtype: of the result.

    Raises:
        ValueError: the shapes do not fit.
    """
    scales = _spread(scale, values.shape, axis, block_size)
    wide = np.float64 if scale.dtype == np.float64 else np.float32
    if zero_point is None or not zero_point.any():
        shifted = values.astype(wide)
    else:
        zeros = _spread(zero_point, values.shape, axis, block_size)
        shifted = (values.astype(np.int64) - zeros.astype(np.int64)).astype(wide)
    return np.asarray((shifted * scales.astype(wide)).astype(dtype))


def _spread(parameter: Array, shape: tuple[int, ...], axis: int, block_size: int) -> Array:
    """A scale or zero point so that it broadcasts to `shape`."""
    if block_size > 0:
        if parameter.ndim != len(shape) or parameter.shape[axis] != -(-shape[axis] // block_size):
            raise ValueError("scales that do not fit the blocks")
        whole = np.repeat(parameter, block_size, axis).take(range(shape[axis]), axis)
        if whole.shape != shape:
            raise ValueError("scales that do not fit the blocks")
        return np.asarray(whole)
    if parameter.size == 1:
        return parameter.reshape(())
    if parameter.shape != (shape[axis],):
        raise ValueError("scales that do not fit the axis")
    return parameter.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])
