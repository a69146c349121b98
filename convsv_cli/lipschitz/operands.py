"""What rules ask of a node's inputs: whether they are constant, how large, and how often repeated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.operation import SIZES, Gain, Operation, Tensor, UnboundedError
from convsv_cli.numerics.intervals import Range
from convsv_cli.numerics.rounding import UP_MANY, root

if TYPE_CHECKING:
    from numpy.typing import NDArray

ZERO = Range(lower=0.0, upper=0.0)


def unbounded(reason: str) -> Gain:
    """The rule of an operator that has no Lipschitz constant, or none that convsv knows.

    Args:
        reason: why, in words; {op} is the operator, {input} its first input.
    """

    def none(operation: Operation) -> float:
        raise UnboundedError(reason.format(op=operation.node.op, input=repr(operation.input(0).name)))

    return none


def first(operation: Operation) -> Tensor:
    """The first input, where no other varies.

    Raises:
        UnboundedError: another input varies with the network's input.
    """
    require_constant(operation, *range(1, len(operation.inputs)))
    return operation.input(0)


def require_constant(operation: Operation, *indices: int) -> None:
    """Check that some inputs do not vary; those left out do not.

    Raises:
        UnboundedError: one does.
    """
    for index in indices:
        tensor = operation.optional(index)
        if tensor is not None and not tensor.constant:
            raise UnboundedError(f"its input {tensor.name!r} varies with the network's input")


def optional_integers(operation: Operation, index: int) -> tuple[int, ...] | None:
    """A list of integers, the input at an index; None where it is left out.

    Raises:
        UnboundedError: the input varies, or convsv cannot compute it.
    """
    tensor = operation.optional(index)
    return None if tensor is None else tuple(int(value) for value in tensor.value().ravel())


def integers(operation: Operation, index: int, name: str) -> tuple[int, ...]:
    """A list of integers that must be there.

    Args:
        operation: the node.
        index: of the input.
        name: of the input, for the error message.

    Raises:
        UnboundedError: the input is missing or varies, or convsv cannot compute it.
    """
    found = optional_integers(operation, index)
    if found is None:
        raise UnboundedError(f"its {name} is missing")
    return found


def slices(operation: Operation) -> list[tuple[int, slice]]:
    """What a Slice takes along each axis that it names, the axes as they are named.

    Python's slices are ONNX's but for one that goes backwards from before the first entry: ONNX's definition
    and onnxruntime let it begin at the first one, NumPy and onnx's reference have nothing of it.

    Raises:
        UnboundedError: what it takes is not known, or runtimes do not agree on it.
    """
    starts, ends = integers(operation, 1, "starts"), integers(operation, 2, "ends")
    axes = optional_integers(operation, 3) or range(len(starts))
    steps = optional_integers(operation, 4) or (1,) * len(starts)
    found = list(zip(axes, map(slice, starts, ends, steps), strict=True))
    for axis, at in found:
        if at.step < 0 and at.start < 0 and at.start < -size_of(operation.input(0), axis):
            raise UnboundedError("a slice that goes backwards from before the first entry")
    return found


def size_of(tensor: Tensor, axis: int) -> int:
    """One dimension.

    Raises:
        UnboundedError: it is unknown.
    """
    size = None if tensor.shape is None else tensor.shape[axis]
    if size is None:
        raise _unknown_shape(tensor)
    return size


def magnitude(tensor: Tensor, reason: str = "its input {names} may be arbitrarily large") -> float:
    """The largest absolute value that the entries of a tensor may have.

    Args:
        tensor: an input.
        reason: what it means that there is none, in words; {names} is the tensor.

    Raises:
        UnboundedError: nothing bounds it.
    """
    largest = tensor.range.magnitude
    if not math.isfinite(largest):
        raise UnboundedError(reason.format(names=repr(tensor.name)))
    return largest


def same(operation: Operation) -> Range:
    """The range of entries that are all entries of the first input."""
    return operation.input(0).range


def same_or_zero(operation: Operation) -> Range:
    """The range of entries of the first input, and zeros."""
    return operation.input(0).range.hull(ZERO)


def any_of_them(operation: Operation) -> Range:
    """The range of entries that lie between entries of the inputs."""
    return operation.given[0].range.hull(*(tensor.range for tensor in operation.given[1:]))


def repeated(tensor: Tensor, operation: Operation) -> tuple[int, ...]:
    """How often an operand is repeated along each axis of the output, so that shapes agree.

    Raises:
        UnboundedError: shapes that are not known may differ.
    """
    _, output = operation.outputs[0]
    if operation.names_of_several <= {tensor.name}:
        return ()
    if tensor.shape is None or output is None:
        raise _unknown_shape(tensor)
    shape = (1,) * (len(output) - len(tensor.shape)) + tensor.shape
    return tuple(_repeats(inner, outer, tensor) for inner, outer in zip(shape, output, strict=True))


def copies(tensor: Tensor, operation: Operation) -> float:
    """The norm of broadcasting an operand: the root of the number of copies, each of which moves with it."""
    return root(math.prod(repeated(tensor, operation)))


def gain_of_scaling(factors: NDArray[np.float64], varying: Tensor, operation: Operation) -> float:
    """The norm of `varying -> factors * varying`, either broadcast to fit the other.

    Args:
        factors: their absolute values, of any shape that fits.
        varying: the other input of the node.
        operation: the node.

    Raises:
        UnboundedError: a factor is not finite, or shapes that are not known may differ.
    """
    if not factors.size:
        return 0.0
    if not np.isfinite(factors).all():
        raise UnboundedError("a product with a constant that holds NaN or infinity")
    counts = repeated(varying, operation)
    axes = tuple(axis - len(counts) for axis, count in enumerate(counts) if count > 1)
    largest = float(factors.max())
    if not axes or largest == 0:
        return largest
    relative = factors / largest  # squares neither underflow nor overflow
    squares = np.square(relative.reshape((1,) * max(0, len(counts) - factors.ndim) + factors.shape))
    return largest * math.sqrt(float(squares.sum(axis=axes).max())) * UP_MANY


def _repeats(inner: int | None, outer: int | None, tensor: Tensor) -> int:
    if inner is None or outer is None:
        raise _unknown_shape(tensor)
    if inner not in (1, outer):
        raise UnboundedError(f"the shape of {tensor.name!r} does not fit the output's")
    return outer if inner == 1 else 1


def _unknown_shape(tensor: Tensor) -> UnboundedError:
    return UnboundedError(f"the shape of {tensor.name!r} is not known", lacks=SIZES)
