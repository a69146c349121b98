"""Tensors that are repeated so that shapes agree: each copy of an entry moves with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.operation import SIZES, Operation, Tensor, UnboundedError
from convsv_cli.model.graph import Dims
from convsv_cli.numerics.arithmetic import root
from convsv_cli.numerics.rounding import UP_MANY

if TYPE_CHECKING:
    from numpy.typing import NDArray


def repeated(tensor: Tensor, operation: Operation) -> tuple[int, ...]:
    """How often an operand is repeated along each axis of the output.

    Raises:
        UnboundedError: shapes that are not known may differ.
    """
    _, output = operation.outputs[0]
    others = [other for other in operation.given if other is not tensor and other.name != tensor.name]
    if all(_is_scalar(other.shape) for other in others):
        return ()
    if tensor.shape is None or output is None:
        raise _unknown(tensor)
    shape = (1,) * (len(output) - len(tensor.shape)) + tensor.shape
    return tuple(_copies(inner, outer, tensor) for inner, outer in zip(shape, output, strict=True))


def copies(tensor: Tensor, operation: Operation) -> float:
    """The norm of the repetition: the root of the number of copies."""
    return root(math.prod(repeated(tensor, operation)))


def gain_of_scaling(factors: NDArray[np.float64], varying: Tensor, operation: Operation) -> float:
    """The norm of `varying -> factors * varying` with absolute factors, either repeated to fit the other."""
    if not factors.size:
        return 0.0
    if not np.isfinite(factors).all():
        raise UnboundedError("a product with a constant that holds NaN or infinity")
    counts = repeated(varying, operation)
    axes = tuple(axis - len(counts) for axis, count in enumerate(counts) if count > 1)
    if not axes:
        return float(factors.max())
    largest = float(factors.max())
    if largest == 0:
        return 0.0
    relative = factors / largest  # squares neither underflow nor overflow
    squares = np.square(relative.reshape((1,) * max(0, len(counts) - factors.ndim) + factors.shape))
    return largest * math.sqrt(float(squares.sum(axis=axes).max())) * UP_MANY


def _copies(inner: int | None, outer: int | None, tensor: Tensor) -> int:
    if inner is None or outer is None:
        raise _unknown(tensor)
    if inner not in (1, outer):
        raise UnboundedError(f"the shape of {tensor.name!r} does not fit the output's")
    return outer if inner == 1 else 1


def _is_scalar(shape: Dims | None) -> bool:
    return shape is not None and all(size == 1 for size in shape)


def _unknown(tensor: Tensor) -> UnboundedError:
    return UnboundedError(f"the shape of {tensor.name!r} is not known", lacks=SIZES)
