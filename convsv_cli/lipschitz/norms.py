"""Certified norms of the linear maps in a graph: of audited rows as these have them, of others computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.model.graph import Graph, Node, UnknownValueError
from convsv_cli.model.layer import Layer, UnsupportedLayer
from convsv_cli.model.linear_map import LinearMap, Unsupported
from convsv_cli.model.linear_maps import linear_maps
from convsv_cli.numerics.rounding import up

if TYPE_CHECKING:
    import torch

COPIES = 4
"""Of a weight in float64, before its norm is found."""
Norm = Callable[[LinearMap], float]


def no_row(_: LinearMap) -> float:
    """Where the norms of rows are all that is known."""
    raise UnboundedError("its weight is in no row of the audit")


@dataclass(frozen=True, kw_only=True, eq=False)
class Norms:
    """Certified upper bounds of the norms of all linear maps of a network.

    Attributes:
        rows: names of the audit's rows, by the key of their linear map.
        of_row: gives the norm of a row by its name; raises `UnboundedError`.
        of_kernel: gives that of a linear map that is no row, such as those that folding makes.
    """

    rows: Mapping[Hashable, str]
    of_row: Callable[[str], float]
    of_kernel: Norm = no_row

    def __call__(self, node: Node, graph: Graph) -> tuple[float, ...]:
        """The norms of a node's linear maps, in the order of its weights.

        Args:
            node: of the graph.
            graph: as it is, or rewritten.

        Raises:
            UnboundedError: one of them has none.
        """
        return tuple(self._norm(found) for found in linear_maps(node, graph))

    def names(self, node: Node, graph: Graph) -> tuple[str, ...]:
        """The rows that a node's weights are.

        Args:
            node: of the graph.
            graph: as the file has it.
        """
        keys = (found.key for found in linear_maps(node, graph))
        return tuple(self.rows[key] for key in keys if key in self.rows)

    def _norm(self, found: LinearMap | Unsupported) -> float:
        name = self.rows.get(found.key)
        if name is not None:
            return self.of_row(name)
        if isinstance(found, Unsupported):
            raise UnboundedError(found.reason)
        try:
            return self.of_kernel(found)
        except UnknownValueError as error:
            raise UnboundedError(f"its weight is {error}") from error


def rows_by_key(layers: Iterable[Layer | UnsupportedLayer]) -> dict[Hashable, str]:
    """The names of rows by the keys of their linear maps, for `Norms.rows`."""
    return {layer.key: layer.name for layer in layers if layer.key is not None}


def kernel_norm(
    found: LinearMap,
    *,
    tolerance: float = 1e-4,
    work_limit: float = math.inf,
    device: torch.device | str = "cpu",
) -> float:
    """Upper bound of the L2 norm of a linear map.

    It holds at every input size and with every zero padding: the supremum over all frequencies, or the least
    bound of Singla & Feizi where the search for that ends early; else that is no smaller. What rounding did
    to the weight is added.

    Args:
        found: gives kernel and geometry.
        tolerance: relative width of an enclosure that is good enough.
        work_limit: multiplications after which the search stops.
        device: where to compute.

    Raises:
        UnboundedError: the kernel is none of real numbers, or the bound is beyond 1e308.
    """
    import torch

    from convsv_cli.model.kernel import reduce_kernel
    from convsv_cli.spectral.norms import norms_of

    if 0 in found.kernel_shape:
        return 0.0
    try:
        limits.hold(COPIES * 8 * math.prod(found.kernel_shape), "a kernel that was folded")
        weight = _real(found)
        kernel = reduce_kernel(torch.from_numpy(weight.copy()).to(device), found.geometry)
        norm = norms_of(kernel).supremum(tolerance=tolerance, limit=work_limit).upper
    except limits.LimitError as error:
        raise UnboundedError(str(error)) from error
    rounding = math.sqrt(math.prod(weight.shape[2:])) * found.constant.error()
    upper = abs(found.factor) * (norm + rounding * up(15)) * up(15)
    if not math.isfinite(upper):
        raise UnboundedError("its norm has no certified upper end below 1e308")
    return upper


def _real(found: LinearMap) -> np.ndarray:
    """The kernel without its factor, float64."""
    weight = found.arrange(found.constant.read())
    if weight.dtype.kind not in "fiu" and "float" not in weight.dtype.name:
        raise UnboundedError(f"its weight holds no real numbers, but {weight.dtype.name}")
    if len(weight) % found.geometry.groups:
        raise UnboundedError("its groups do not fit its kernel")
    values = weight.astype(np.float64)
    if not np.isfinite(values).all():
        raise UnboundedError("its weight holds NaN or infinity")
    return values
