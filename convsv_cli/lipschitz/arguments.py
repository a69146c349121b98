"""Arguments of nodes that must be constants."""

from __future__ import annotations

from convsv_cli.lipschitz.operation import SIZES, Operation, Tensor, UnboundedError
from convsv_cli.numerics.ranges import Range


def first(operation: Operation) -> Tensor:
    """The first input, where nothing else varies.

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


def integers(operation: Operation, index: int) -> tuple[int, ...] | None:
    """A list of whole numbers, the input at an index; None where it is left out.

    Raises:
        UnboundedError: the input varies, or convsv cannot compute it.
    """
    tensor = operation.optional(index)
    return None if tensor is None else tuple(int(value) for value in tensor.value().ravel())


def size_of(tensor: Tensor, axis: int) -> int:
    """One dimension.

    Raises:
        UnboundedError: it is unknown.
    """
    size = None if tensor.shape is None else tensor.shape[axis]
    if size is None:
        raise UnboundedError(f"the shape of {tensor.name!r} is not known", lacks=SIZES)
    return size


def same(operation: Operation) -> Range:
    """Of entries that are all entries of the first input."""
    return operation.input(0).range


def same_or_zero(operation: Operation) -> Range:
    """Of entries of the first input, and zeros."""
    return operation.input(0).range.hull(Range(lower=0.0, upper=0.0))
