"""A node as a linear map: which kernel, applied how; what audits, folding and proofs share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from convsv_cli.model.graph import Constant, Graph, Node, UnknownValueError
from convsv_cli.model.layer import Geometry

Array = NDArray[np.generic]
N = TypeVar("N", bound=np.generic)
MISFIT = "quantised weights whose scale or zero point does not fit them"
IN_REALS = {
    "ConvInteger": "Conv",
    "MatMulInteger": "MatMul",
    "QLinearConv": "Conv",
    "QLinearMatMul": "MatMul",
}
"""Operators on codes, and those that do the same to what these stand for."""
NOT_CONSTANT = "its weight is computed from the network's input"


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """A node's linear map by one constant, without its bias.

    Attributes:
        op: ONNX operator type, without a domain.
        constant: the tensor in the graph.
        kernel_shape: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        arrange: turns the constant's values into the kernel.
        factor: of the kernel, beside what the constant holds: alpha of a Gemm.
        variant: tells arrangements of one constant into kernels of the same shape apart.
        geometry: how the kernel is applied.
        data: index of the input that is mapped.
        bias: the tensor that is added, and what it is multiplied by; None where the operator has none.
        input_size: spatial size of the input; None where unknown.
        assumed: what was taken for granted.
        role: tells several maps of one node apart, e.g. "R" of an LSTM.
    """

    op: str
    constant: Constant
    kernel_shape: tuple[int, ...]
    arrange: Callable[[Array], Array]
    factor: float = 1.0
    variant: Hashable = None
    geometry: Geometry
    data: int = 0
    bias: tuple[str, float] | None = None
    input_size: tuple[int, ...] | None = ()
    assumed: tuple[str, ...] = ()
    role: str = ""

    @property
    def key(self) -> Hashable:
        """Equal for maps of one graph that have the same norms, wherever they are used."""
        kernel = self.constant.identity, self.factor, self.variant, self.kernel_shape
        return kernel, IN_REALS.get(self.op, self.op), self.geometry, self.input_size

    def kernel(self) -> Array:
        """The kernel, an array of `kernel_shape`.

        Raises:
            UnknownValueError: it is not known after all.
        """
        values = self.arrange(self.constant.read())
        return values if self.factor == 1 else np.asarray(values.astype(np.float64) * self.factor)

    def by_groups(self, kernel: NDArray[N]) -> NDArray[N]:
        """A kernel of `kernel_shape`, by diagonal blocks: [groups, c_out / groups, c_in / groups, *k].

        Args:
            kernel: whose outputs, or inputs where it is transposed, the groups divide.
        """
        groups, (first, *others) = self.geometry.groups, kernel.shape
        blocks = kernel.reshape(groups, first // groups, *others)
        return blocks.swapaxes(1, 2) if self.geometry.transposed else blocks


@dataclass(frozen=True, kw_only=True)
class Unsupported:
    """A node with weights that is no linear map convsv knows.

    Attributes:
        op: as of `LinearMap`.
        reason: why, in plain words.
        constant: the tensor in the graph; None where it has no values.
        applicable: as in `UnsupportedLayer`.
        node: its name.
    """

    op: str
    reason: str
    constant: Constant | None = None
    applicable: bool = True
    node: str

    @property
    def key(self) -> Hashable:
        """Equal for the same node only."""
        return self.node


Maps = Iterator["LinearMap | Unsupported"]


def unsupported(
    node: Node, reason: str, constant: Constant | None = None, *, applicable: bool = True
) -> Unsupported:
    """What a node is where it is no linear map; see `Unsupported`."""
    return Unsupported(op=node.type, reason=reason, constant=constant, applicable=applicable, node=node.name)


def computed(graph: Graph, name: str) -> Constant | None:
    """As `Graph.constant`, but None too where that cannot compute it: for what may be no weight."""
    try:
        return graph.constant(name)
    except UnknownValueError:
        return None
