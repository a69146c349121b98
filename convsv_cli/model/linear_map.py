"""A node as a linear map: which kernel, applied how; what audits, folding and proofs share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convsv_cli.model.graph import Constant, Dims, Graph, Node, T, UnknownValueError
from convsv_cli.model.layer import Geometry

Array = NDArray[np.generic]
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
        return kernel, self.op, self.geometry, self.input_size

    def kernel(self) -> Array:
        """The kernel, an array of `kernel_shape`.

        Raises:
            UnknownValueError: it is not known after all.
        """
        values = self.arrange(self.constant.read())
        return values if self.factor == 1 else np.asarray(values.astype(np.float64) * self.factor)


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


@dataclass(frozen=True, kw_only=True)
class Site:
    """A node where it stands in its graph."""

    node: Node
    graph: Graph

    @property
    def op(self) -> str:
        """ONNX operator type, without a domain."""
        return self.node.op.rpartition(".")[2]

    def attribute(self, name: str, default: T) -> T:
        """The node's attribute.

        Args:
            name: as ONNX calls it.
            default: what it is where it is absent.
        """
        return self.node.attribute(name, default)

    def name(self, index: int) -> str:
        """Of the tensor at an input; empty where that is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else ""

    def constant(self, index: int) -> Constant | None:
        """The constant at an input; None where it is left out or depends on the network's input.

        Raises:
            UnknownValueError: convsv cannot compute it.
        """
        return self.graph.constant(self.name(index))

    def computed(self, index: int) -> Constant | None:
        """As `constant`, but None too where convsv cannot compute it: for inputs that may be no weight."""
        try:
            return self.constant(index)
        except UnknownValueError:
            return None

    def dims(self, index: int) -> Dims | None:
        """The dimensions of an input, as far as they are known."""
        return self.graph.shapes.get(self.name(index))

    def unsupported(
        self, reason: str, constant: Constant | None = None, *, applicable: bool = True
    ) -> Unsupported:
        """What the node is where it is no linear map; see `Unsupported`."""
        return Unsupported(
            op=self.op, reason=reason, constant=constant, applicable=applicable, node=self.node.name
        )
