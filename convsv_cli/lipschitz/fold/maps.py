"""Conv, ConvTranspose, Gemm and MatMul by constants, as a kernel [groups, c_out, c_in, *k] and a bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.dependencies import REAL
from convsv_cli.lipschitz.fold.sweep import Draft
from convsv_cli.lipschitz.fold.weight import Weight
from convsv_cli.model.graph import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONVOLUTIONS = ("Conv", "ConvTranspose")
MATRICES = ("Gemm", "MatMul")
DEEPEST = 200  # computations of a constant that are nested, as stack frames are


@dataclass(frozen=True, kw_only=True, eq=False)
class Channels:
    """Where the channels of a tensor are.

    Attributes:
        count: how many.
        axis: counted from the last one, which is -1.
        rank: of the tensor; None where unknown.
    """

    count: int
    axis: int
    rank: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMap:
    """An affine map of channels.

    Attributes:
        nodes: its node; after a MatMul the Add of its bias.
        weight: [groups, c_out / groups, c_in / groups, *k], with Gemm's alpha.
        bias: what broadcasts to [c_out], or for Gemm to [rows, c_out], with beta; None where there is none.
        inputs, outputs: the channels.
    """

    nodes: tuple[Node, ...]
    weight: Weight
    bias: Weight | None
    inputs: Channels
    outputs: Channels

    @property
    def node(self) -> Node:
        """The one with the weight."""
        return self.nodes[0]

    @property
    def source(self) -> str:
        """The tensor that it maps."""
        return self.node.inputs[0]

    @property
    def groups(self) -> int:
        """Number of blocks."""
        return self.weight.shape[0]

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Sizes of the spatial axes; none for a matrix."""
        return self.weight.shape[3:]

    def ints(self, name: str, default: int) -> tuple[int, ...]:
        """An attribute with one entry a spatial axis."""
        return tuple(self.node.attribute(name, (default,) * len(self.kernel_shape)))

    @property
    def unpadded(self) -> bool:
        """Whether a convolution sees only what is there."""
        how = self.node.attribute("auto_pad", "NOTSET")
        if how.startswith("SAME"):
            return set(self.kernel_shape) <= {1}
        return how == "VALID" or not any(self.node.attribute("pads", ()))

    @property
    def pointwise(self) -> bool:
        """Whether it maps each pixel by itself, all of them."""
        plain = self.node.op == "Conv" and self.unpadded and self.groups == 1
        return plain and set(self.kernel_shape) <= {1} and set(self.ints("strides", 1)) <= {1}

    def weight_by_output(self, factors: NDArray[np.float64]) -> Weight:
        """The weight of the map with its outputs scaled; factors [c_out]."""
        return self.weight.scaled(factors.reshape(self.groups, -1, 1, *(1 for _ in self.kernel_shape)))

    def weight_by_input(self, factors: NDArray[np.float64]) -> Weight:
        """The weight of the map of scaled inputs; factors [c_in]."""
        return self.weight.scaled(factors.reshape(self.groups, 1, -1, *(1 for _ in self.kernel_shape)))


def map_at(node: Node, draft: Draft) -> LinearMap | None:
    """The map that a node is, without a MatMul's bias; None where it is none that could be changed."""
    readers = {"Conv": _convolution, "ConvTranspose": _convolution, "Gemm": _gemm, "MatMul": _matmul}
    if node.op not in readers or len(node.outputs) != 1 or node.bodies:
        return None
    if len(node.inputs) < 2 or draft.is_constant(node.inputs[0]) or draft.dtype(node.inputs[1]) not in REAL:
        return None
    weight = draft.weight(node.inputs[1])
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    bias = draft.weight(name) if name else None
    if weight is None or (name and bias is None):
        return None
    found = readers[node.op](node, draft, weight, bias)
    return found if found is not None and _shallow(found) else None


def _shallow(found: LinearMap) -> bool:
    return max(found.weight.depth, found.bias.depth if found.bias else 0) <= DEEPEST


def _convolution(node: Node, _: Draft, weight: Weight, bias: Weight | None) -> LinearMap | None:
    rank, groups = len(weight.shape), node.attribute("group", 1)
    axes = rank - 2
    sizes = {"strides": axes, "dilations": axes, "pads": 2 * axes, "kernel_shape": axes}
    fits = all(len(node.attribute(name, (0,) * size)) == size for name, size in sizes.items())
    if axes < 1 or groups < 1 or weight.shape[0] % groups or 0 in weight.shape or not fits:
        return None
    first, second, *kernel = weight.shape
    split = (groups, first // groups, second, *kernel)
    if node.op == "Conv":
        blocks = weight.arranged(split, lambda values: values.reshape(split))
    else:
        turned = (groups, second, first // groups, *kernel)
        blocks = weight.arranged(turned, lambda values: values.reshape(split).swapaxes(1, 2))
    return _map(node, blocks, bias, axis=1 - rank, rank=rank)


def _gemm(node: Node, _: Draft, weight: Weight, bias: Weight | None) -> LinearMap | None:
    if node.attribute("transA", 0) or len(weight.shape) != 2 or 0 in weight.shape:
        return None
    turned = bool(node.attribute("transB", 0))
    blocks = _matrix(weight, turned=turned)
    alpha, beta = (np.array([node.attribute(name, 1.0)], np.float64) for name in ("alpha", "beta"))
    if alpha != 1:
        blocks = blocks.scaled(alpha)
    if bias is not None and beta != 1:
        bias = bias.scaled(beta)
    return _map(node, blocks, bias, axis=-1, rank=2)


def _matmul(node: Node, draft: Draft, weight: Weight, bias: Weight | None) -> LinearMap | None:
    if bias is not None or len(weight.shape) != 2 or 0 in weight.shape:
        return None
    shape = draft.shape(node.inputs[0])
    blocks = _matrix(weight, turned=False)
    return _map(node, blocks, None, axis=-1, rank=None if shape is None else len(shape))


def _matrix(weight: Weight, *, turned: bool) -> Weight:
    """A matrix [c_in, c_out], or turned, as a kernel [1, c_out, c_in]."""
    shape = weight.shape if turned else weight.shape[::-1]
    return weight.arranged((1, *shape), lambda values: (values if turned else values.T)[None])


def _map(node: Node, blocks: Weight, bias: Weight | None, *, axis: int, rank: int | None) -> LinearMap:
    groups, c_out, c_in = blocks.shape[:3]
    return LinearMap(
        nodes=(node,),
        weight=blocks,
        bias=bias,
        inputs=Channels(count=groups * c_in, axis=axis, rank=rank),
        outputs=Channels(count=groups * c_out, axis=axis, rank=rank),
    )
