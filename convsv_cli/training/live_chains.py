"""Chains of nodes that scale, shift or map channels: the linear map that they are, of their constants.

The products are those of `lipschitz/fold`, by torch for their derivatives; where they apply is known there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from convsv_cli.lipschitz.fold.diagonal import EPSILON
from convsv_cli.model.graph import Graph, Node
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.linear_maps import linear_maps

VIEWS = frozenset(("Flatten", "Identity", "Dropout", "Reshape", "Squeeze", "Unsqueeze"))
"""What a chain may pass through unchanged, but for the shape."""
DIAGONAL = frozenset(("BatchNormalization", "Mul", "Div", "Add", "Sub"))
Values = Mapping[str, torch.Tensor]
"""Constants of a graph by name, float64."""
Link = tuple[Node, tuple[str, ...], LinearMap | None]
"""A node, the constants that its linear part is of, and, for one that maps channels, how."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """Nodes in order.

    Attributes:
        links: those that are more than shifts and other views.
    """

    links: tuple[Link, ...]

    @property
    def operands(self) -> tuple[str, ...]:
        """The constants that it is of."""
        return tuple(name for _, names, _ in self.links for name in names)

    @property
    def maps(self) -> bool:
        """Whether it has a kernel."""
        return any(linear is not None for _, _, linear in self.links)

    def kernel(self, values: Values, shape: Sequence[int]) -> torch.Tensor:
        """The kernel of what it does, of a shape that has the entries of [groups, rows, columns, *taps].

        Args:
            values: of the constants.
            shape: of the result.
        """
        kernel, _ = self._composed(values)
        assert kernel is not None  # noqa: S101 - what steps with a kernel stand for has one
        return kernel.reshape(tuple(shape))

    def factors(self, values: Values, shape: Sequence[int]) -> torch.Tensor:
        """The factors of channels, for a chain that has no kernel: [1] or [channels].

        Args:
            values: of the constants.
            shape: of the result.
        """
        return self._composed(values)[1].expand(tuple(shape))

    def _composed(self, values: Values) -> tuple[torch.Tensor | None, torch.Tensor]:
        """A kernel [groups, c_out / groups, c_in / groups, *taps]; or none, and factors [1] or [channels]."""
        kernel: torch.Tensor | None = None
        factors = torch.ones(1, dtype=torch.float64)
        for node, names, linear in self.links:
            operands = [values[name] for name in names]
            if linear is None and kernel is None:
                factors = factors * _factors(node, operands)
            elif linear is None and kernel is not None:
                kernel = _scaled(kernel, _factors(node, operands), side=1)
            elif linear is not None:
                new = _kernel(linear, operands[0])
                kernel = _scaled(new, factors, side=2) if kernel is None else _product(new, kernel)
        return kernel, factors


def chain_of(nodes: Sequence[Node], graph: Graph) -> Chain | None:
    """The chain that nodes in order are; None where they are none.

    Args:
        nodes: each leads to the next one.
        graph: that they are in.
    """
    links: list[Link] = []
    for node in nodes:
        constants = tuple(name for name in node.inputs if name in graph.constants)
        varying = [name for name in node.inputs if name and name not in graph.constants]
        if len(varying) != 1 or (node.op == "Div" and node.inputs[0] != varying[0]):
            return None
        if node.op in ("Add", "Sub"):
            if node.op == "Sub" and node.inputs[0] != varying[0]:
                links.append((node, (), None))
        elif node.op == "BatchNormalization":
            links.append((node, (node.inputs[1], node.inputs[4]), None))
        elif node.op in DIAGONAL:
            links.append((node, constants, None))
        elif node.op not in VIEWS:
            maps = list(linear_maps(node, graph))
            if len(maps) != 1 or not isinstance(maps[0], LinearMap) or maps[0].data:
                return None
            links.append((node, (node.inputs[1],), maps[0]))
    return Chain(links=tuple(links))


def _factors(node: Node, operands: Sequence[torch.Tensor]) -> torch.Tensor:
    """What a node multiplies channels by, [1] or [channels]: BatchNorm as in evaluation."""
    if not operands:  # a constant less what varies
        return torch.full((1,), -1.0, dtype=torch.float64)
    if node.op == "BatchNormalization":
        scale, variance = operands
        return scale / (variance + node.attribute("epsilon", EPSILON)).sqrt()
    flat = operands[0].reshape(-1)
    return 1 / flat if node.op == "Div" else flat


def _kernel(linear: LinearMap, weight: Any) -> torch.Tensor:  # noqa: ANN401 - numpy's in the signature of both
    """[groups, c_out / groups, c_in / groups, *taps], by the methods that arrays and tensors share."""
    arranged: Any = linear.by_groups(linear.arrange(weight))
    kernel: torch.Tensor = arranged * linear.factor
    turned = linear.geometry.transposed and all(s == 1 for s in linear.geometry.stride)
    return kernel.flip(tuple(range(3, kernel.ndim))) if turned else kernel


def _scaled(kernel: torch.Tensor, factors: torch.Tensor, *, side: int) -> torch.Tensor:
    """With its outputs scaled (side 1), or its inputs (side 2)."""
    shape = [1] * kernel.ndim
    shape[0], shape[side] = kernel.shape[0], kernel.shape[side]
    return kernel * factors.expand(shape[0] * shape[side]).reshape(shape)


def _product(second: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """One after the other: matrices, or convolutions without groups of which one has a single tap."""
    return torch.einsum("gom...,gmi...->goi...", second, first)
