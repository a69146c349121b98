"""A node as the rules of linear maps see it: attributes, constants and shapes where it stands."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import onnx
from onnx import NodeProto

from convsv_cli.loaders.onnx.constants import Constant, Constants
from convsv_cli.loaders.onnx.evaluation import NotFoldableError
from convsv_cli.loaders.onnx.scopes import Scope
from convsv_cli.loaders.onnx.shape_table import Dims, Shapes
from convsv_cli.loaders.onnx.tensors import Array
from convsv_cli.model.layer import Geometry

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """A node's linear map by one constant.

    Attributes:
        constant: the tensor in the graph.
        kernel_shape: [c_out, c_in / groups, *k] (see `Layer`).
        arrange: turns the constant's values into the kernel.
        variant: tells arrangements of one constant into kernels of the same shape apart, e.g. a factor.
        geometry: how the kernel is applied.
        input_size: spatial size of the input; None where unknown.
        assumed: what was taken for granted.
        role: tells several maps of one node apart, e.g. "R" of an LSTM.
    """

    constant: Constant
    kernel_shape: tuple[int, ...]
    arrange: Callable[[Array], Array]
    variant: Hashable = None
    geometry: Geometry
    input_size: tuple[int, ...] | None = ()
    assumed: tuple[str, ...] = ()
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class Unsupported:
    """A node with weights that is no linear map convsv knows.

    Attributes:
        reason: why.
        constant: the tensor in the graph; None where it has no values.
        applicable: as in `UnsupportedLayer`.
    """

    reason: str
    constant: Constant | None = None
    applicable: bool = True


@dataclass(frozen=True, kw_only=True)
class Site:
    """A node, and what is known where it stands."""

    node: NodeProto
    scope: Scope
    constants: Constants
    shapes: Shapes

    @property
    def varies(self) -> bool:
        """Whether the node depends on the network's input; else it is part of a constant, and no layer."""
        return any(self.scope.varies(name) for name in self.node.output if name)

    def attribute(self, name: str, default: T) -> T:
        """The attribute's value, of the default's type; the default where it is absent."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                if isinstance(value, bytes):
                    value = value.decode("utf-8", "replace")
                return tuple(value) if isinstance(default, tuple) else value  # type: ignore[return-value]
        return default

    def constant(self, index: int) -> Constant | None:
        """The constant at an input; None where it is absent or depends on the network's input."""
        if index >= len(self.node.input) or not self.node.input[index]:
            return None
        return self.constants.find(self.scope, self.node.input[index])

    def computed(self, index: int) -> Constant | None:
        """As `constant`, but None too where convsv cannot compute it: for inputs that may be no weight."""
        try:
            return self.constant(index)
        except NotFoldableError:
            return None

    def dims(self, index: int) -> Dims | None:
        """The dimensions of an input, as far as they are known."""
        return self.shapes.find(self.scope, self.node.input[index])
