"""The certified norm of a constant weight that is no row of the audit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.model.graph import Node
from convsv_cli.model.layer import Geometry
from convsv_cli.numerics.rounding import up

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


def kernel_norm(
    node: Node,
    weight: NDArray[np.generic],
    *,
    tolerance: float = 1e-4,
    work_limit: float = math.inf,
    device: torch.device | str = "cpu",
) -> float:
    """Upper bound of the L2 norm of a Conv, ConvTranspose, Gemm or MatMul by this weight, without its bias.

    It holds at every input size and with every zero padding: the supremum over all frequencies, or the least
    bound of Singla & Feizi where the search for that ends early; else that is no smaller. Gemm's alpha
    counts; a batch of matrices counts as one, stacked. What rounding did to the weight is added.

    Args:
        node: gives operator and geometry.
        weight: as the operator has it.
        tolerance: relative width of an enclosure that is good enough.
        work_limit: multiplications after which the search stops.
        device: where to compute.

    Raises:
        UnboundedError: it is no such operator, the weight is none for it, or the bound is beyond 1e308.
    """
    parts, geometry = _parts(node, weight)
    if not weight.size:
        return 0.0
    norms = [_norm(part, geometry, tolerance, work_limit, device) for part in parts]
    rounding = math.sqrt(math.prod(parts[0].shape[2:])) * node.rounding()
    alpha = abs(node.attribute("alpha", 1.0)) if node.op == "Gemm" else 1.0
    upper = alpha * (max(norms) + rounding * up(15)) * up(15)
    if not math.isfinite(upper):
        raise UnboundedError("its norm has no certified upper end below 1e308")
    return upper


def _norm(
    weight: NDArray[np.float64],
    geometry: Geometry,
    tolerance: float,
    work_limit: float,
    device: torch.device | str,
) -> float:
    import torch

    from convsv_cli.model.kernel import reduce_kernel
    from convsv_cli.spectral.norms import norms_of

    kernel = reduce_kernel(torch.from_numpy(weight.copy()).to(device), geometry)
    return norms_of(kernel).supremum(tolerance=tolerance, limit=work_limit).upper


def _parts(node: Node, weight: NDArray[np.generic]) -> tuple[list[NDArray[np.float64]], Geometry]:
    """Kernels of which one is the node's, and how they are applied."""
    if weight.dtype.kind not in "fiu" and "float" not in weight.dtype.name:
        raise UnboundedError(f"its weight holds no real numbers, but {weight.dtype.name}")
    values = weight.astype(np.float64)
    if not np.isfinite(values).all():
        raise UnboundedError("its weight holds NaN or infinity")
    if node.op in ("Conv", "ConvTranspose"):
        return [values], _geometry(node, values.shape)
    if node.op == "Gemm" and values.ndim == 2:
        return [values], Geometry()
    if node.op == "MatMul" and values.ndim:
        return _stacked(values), Geometry()
    raise UnboundedError(f"its weight has {values.ndim} axes, of which convsv knows no norm")


def _stacked(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Matrices [*batch, rows, columns] above each other, and beside each other.

    The first is for those on the left, which all see the same matrix at worst; the second is for the right.
    """
    if values.ndim <= 2 or not values.size:
        return [np.atleast_2d(values)]
    matrices = values.reshape(-1, *values.shape[-2:])
    rows, columns = matrices.shape[1:]
    return [matrices.reshape(-1, columns), matrices.swapaxes(0, 1).reshape(rows, -1)]


def _geometry(node: Node, shape: tuple[int, ...]) -> Geometry:
    ones = (1,) * (len(shape) - 2)
    strides, dilations = node.attribute("strides", ones), node.attribute("dilations", ones)
    groups = node.attribute("group", 1)
    fits = len(strides) == len(dilations) == len(ones) > 0
    if not fits or min(*strides, *dilations, groups) < 1 or shape[0] % groups:
        raise UnboundedError("its strides, dilations or groups do not fit its kernel")
    return Geometry(
        stride=tuple(strides), dilation=tuple(dilations), groups=groups, transposed=node.op == "ConvTranspose"
    )
