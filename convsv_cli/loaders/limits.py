"""What a network of any file format may hold: no more than keeps reports readable, and memory bounded."""

from __future__ import annotations

from collections.abc import Iterable

from convsv_cli.errors import UnsafeModelError
from convsv_cli.layer_names import LONGEST
from convsv_cli.model.network import Network

TOO_LARGE = "a constant expression much larger than what is stored for it"
MAX_TENSORS = 250_000
MAX_AXES = 64
FREE_ELEMENTS = 2**23
GROWTH = 16


def check_network(network: Network) -> Network:
    """The same network.

    Raises:
        UnsafeModelError: as `check_tensors`, of its rows.
    """
    check_tensors((max(row.name, row.weight, row.op, key=len), row.kernel_shape) for row in network.layers)
    return network


def check_tensors(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
    """See that named tensors of these shapes are no more than a network has, so that reports stay readable.

    Raises:
        UnsafeModelError: too many of them, too long a name, or too many axes.
    """
    for count, (name, shape) in enumerate(shapes, 1):
        if count > MAX_TENSORS:
            raise UnsafeModelError(f"more than {MAX_TENSORS} tensors")
        if len(name) > LONGEST:
            raise UnsafeModelError(f"a name longer than {LONGEST} characters")
        if len(shape) > MAX_AXES:
            raise UnsafeModelError(f"a tensor with more than {MAX_AXES} axes")


def outgrows(made: int, stored: int) -> bool:
    """Whether a constant expression makes too many elements, in all its steps, from those that are stored.

    Files of a few bytes can ask for any amount.
    """
    return made > FREE_ELEMENTS + GROWTH * stored
