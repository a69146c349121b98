"""Affine maps of channels: read from nodes, scaled, and written back as nodes of their operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli.lipschitz.dependencies import REAL
from convsv_cli.lipschitz.fold.rewrite import Rewrite
from convsv_cli.lipschitz.fold.weight import Weight
from convsv_cli.model.graph import Node
from convsv_cli.model.layer import CONV, MATRIX, TRANSPOSED, Geometry
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.linear_maps import linear_maps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FOLDED = (CONV, TRANSPOSED, MATRIX, "MatMul")
"""Operators of which other maps can be made."""
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
class Affine:
    """An affine map of channels.

    Attributes:
        nodes: its node; after a MatMul the Add of its bias.
        weight: [groups, c_out / groups, c_in / groups, *k], with Gemm's alpha.
        bias: what broadcasts to [c_out], or for Gemm to [rows, c_out], with beta; None where there is none.
        geometry: how the kernel is applied.
        inputs, outputs: the channels.
    """

    nodes: tuple[Node, ...]
    weight: Weight
    bias: Weight | None
    geometry: Geometry
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

    @property
    def unpadded(self) -> bool:
        """Whether every output sees only what is there, as many entries as any other."""
        known = len(self.geometry.padding) == 2 * len(self.kernel_shape)
        return known and not self.geometry.transposed and not any(self.geometry.padding)

    @property
    def pointwise(self) -> bool:
        """Whether it is a convolution that maps each pixel by itself, all of them."""
        single = {*self.kernel_shape, *self.geometry.stride} == {1}
        return single and self.unpadded and self.groups == 1

    def weight_by_output(self, factors: Array) -> Weight:
        """The weight of the map with its outputs scaled; factors [c_out]."""
        return self.weight.scaled(factors.reshape(self.groups, -1, 1, *(1 for _ in self.kernel_shape)))

    def weight_by_input(self, factors: Array) -> Weight:
        """The weight of the map of scaled inputs; factors [c_in]."""
        return self.weight.scaled(factors.reshape(self.groups, 1, -1, *(1 for _ in self.kernel_shape)))


def affine_at(node: Node, rewrite: Rewrite) -> Affine | None:
    """The map that a node is, without a MatMul's bias; None where it is none that could be changed."""
    if node.op not in FOLDED or len(node.outputs) != 1 or node.bodies:
        return None
    if len(node.inputs) < 2 or rewrite.dtype(node.inputs[1]) not in REAL or node.attribute("transA", 0):
        return None
    found = linear_maps(node, rewrite.view)
    if len(found) != 1 or not isinstance(found[0], LinearMap) or found[0].data != 0:
        return None
    affine = _affine(found[0], node, rewrite)
    return affine if affine is not None and _is_shallow(affine) else None


def _affine(found: LinearMap, node: Node, rewrite: Rewrite) -> Affine | None:
    shape, rank = found.constant.shape, len(found.kernel_shape)
    spatial = rank > 2
    if rank != len(shape) or 0 in shape or shape[0] % found.geometry.groups:
        return None
    blocks = _blocks(found, Weight.of(found.constant))
    groups, c_out, c_in = blocks.shape[:3]
    bias = None
    if found.bias is not None:
        name, factor = found.bias
        bias = rewrite.weight(name)
        if bias is None or not _fits(bias.shape, groups * c_out, axes=1 if spatial else 2):
            return None
        bias = bias if factor == 1 else bias.scaled(np.array([factor], np.float64))
    data = rewrite.shape(node.inputs[0])
    known = rank if spatial or node.op == "Gemm" else None if data is None else len(data)
    axis = 1 - rank if spatial else -1
    return Affine(
        nodes=(node,),
        weight=blocks,
        bias=bias,
        geometry=found.geometry,
        inputs=Channels(count=groups * c_in, axis=axis, rank=known),
        outputs=Channels(count=groups * c_out, axis=axis, rank=known),
    )


def _fits(bias: tuple[int, ...], c_out: int, *, axes: int) -> bool:
    """Whether a bias of this shape broadcasts to [c_out], or to [rows, c_out]."""
    return len(bias) <= axes and bias[-1:] in ((), (1,), (c_out,))


def _blocks(found: LinearMap, weight: Weight) -> Weight:
    """The kernel as [groups, c_out / groups, c_in / groups, *k]."""
    groups, transposed = found.geometry.groups, found.geometry.transposed
    first, second, *kernel = found.kernel_shape
    split = (groups, second, first // groups) if transposed else (groups, first // groups, second)

    def arrange(values: Array) -> Array:
        return found.by_groups(np.asarray(found.arrange(values), np.float64).reshape(found.kernel_shape))

    blocks = weight.arranged((*split, *kernel), arrange)
    return blocks if found.factor == 1 else blocks.scaled(np.array([found.factor], np.float64))


def _is_shallow(affine: Affine) -> bool:
    return max(affine.weight.depth, affine.bias.depth if affine.bias else 0) <= DEEPEST


def written(
    like: Affine,
    rewrite: Rewrite,
    *,
    output: str,
    source: str | None = None,
    weight: Weight | None = None,
    bias: Weight | None,
    name: str = "",
) -> tuple[Node, ...]:
    """Nodes of the same kind as a map: a MatMul with a bias needs two.

    Args:
        like: gives operator and geometry, and what is left out.
        rewrite: gets the new constants.
        output: name of the result.
        source: name of the tensor that is mapped.
        weight: [groups, c_out / groups, c_in / groups, *k]; None keeps the node's.
        bias: None for none.
        name: of the node.
    """
    source, name = source or like.source, name or like.node.name
    if like.node.op != "MatMul" or bias is None:
        return (_node(like, rewrite, (source, output), weight, bias, name=name),)
    middle = rewrite.tensor(f"{output}.product", output)
    added = constant(rewrite, like, f"{name}.bias", bias)
    adder = like.nodes[1].name if len(like.nodes) > 1 else rewrite.fresh(f"{name}.bias")
    add = Node(op="Add", name=adder, inputs=(middle, added), outputs=(output,))
    return _node(like, rewrite, (source, middle), weight, None, name=name), add


def constant(rewrite: Rewrite, like: Affine, base: str, weight: Weight) -> str:
    """The name of a new constant of the type that the map's weight has."""
    return rewrite.constant(base, weight, rewrite.dtype(like.node.inputs[1]))


def _node(
    like: Affine,
    rewrite: Rewrite,
    ends: tuple[str, str],
    weight: Weight | None,
    bias: Weight | None,
    *,
    name: str,
) -> Node:
    old, (source, output) = like.node, ends
    operand = old.inputs[1]
    if weight is not None:
        operand = constant(rewrite, like, f"{name}.weight", _as_operand(like, weight))
    addend = () if bias is None else (constant(rewrite, like, f"{name}.bias", bias),)
    return replace(
        old,
        name=name,
        inputs=(source, operand, *addend),
        outputs=(output,),
        attributes=_attributes(old, weight),
    )


def _attributes(old: Node, weight: Weight | None) -> Mapping[str, object]:
    """As they were, but for what weight and bias have taken in."""
    attributes = {name: value for name, value in old.attributes.items() if name != "beta"}
    if weight is not None and old.op == "Gemm":
        return {"transB": 1}
    if weight is not None and len(weight.shape) > 3:
        attributes["group"] = weight.shape[0]
    return attributes


def _as_operand(like: Affine, weight: Weight) -> Weight:
    """A kernel as the operator wants it."""
    groups, c_out, c_in, *kernel = weight.shape
    if like.geometry.transposed:
        turned = (groups * c_in, c_out, *kernel)
        return weight.arranged(turned, lambda values: values.swapaxes(1, 2).reshape(turned))
    if like.node.op == "MatMul":
        return weight.arranged((c_in, c_out), lambda values: values[0].T)
    shape = (groups * c_out, c_in, *kernel)
    return weight.arranged(shape, lambda values: values.reshape(shape))
