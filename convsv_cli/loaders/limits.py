"""What a network of any file format may say of itself: so much that reports of it stay readable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from convsv_cli.errors import UnsafeModelError
from convsv_cli.layer_names import LONGEST
from convsv_cli.model.network import Network

MAX_TENSORS = 250_000
MAX_AXES = 64


def check_tensors(shapes: Iterable[tuple[str, tuple[int, ...]]], path: str) -> None:
    """See that named tensors of these shapes are no more than a network has.

    Raises:
        UnsafeModelError: too many of them, too long a name, or too many axes.
    """
    for count, (name, shape) in enumerate(shapes, 1):
        if count > MAX_TENSORS:
            raise UnsafeModelError(f"more than {MAX_TENSORS} tensors", where=path)
        if len(name) > LONGEST:
            raise UnsafeModelError(f"a name of more than {LONGEST} characters", where=path)
        if len(shape) > MAX_AXES:
            raise UnsafeModelError(f"a tensor of more than {MAX_AXES} axes", where=path)


def check_network(network: Network) -> Network:
    """The same network.

    Raises:
        UnsafeModelError: as `check_tensors`, of its rows.
    """
    check_tensors(_named(network), network.path)
    return network


def _named(network: Network) -> Iterator[tuple[str, tuple[int, ...]]]:
    for row in network.layers:
        yield max(row.name, row.weight, row.op, key=len), row.kernel_shape
