"""One layer of a network: a linear map with its geometry, whose weight is read on demand."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from convsv_cli.model.home import Home, homeless

if TYPE_CHECKING:
    from torch import Tensor

    from convsv_cli.model.factored import Factored

CONV, TRANSPOSED, MATRIX = "Conv", "ConvTranspose", "Gemm"
"""ONNX operator types of layers."""
LOOK_UP = "a table look-up by integer indices: it amplifies nothing"
DEQUANTISED = "dequantised weights: {} values with their scale"
CONVERTED_ORDER = (
    "rows of queries and keys may be in another order than in the model that this file was converted from"
)
RANKS_ORDER = (
    "rows of the matrices that are one in it are in the order of ranks, each of which has some of each"
)
OTHER_ORDER = (CONVERTED_ORDER, RANKS_ORDER)
"""What is said of weights that are those of another file up to an order of rows, which norms do not see."""
Rescale = Callable[["Tensor"], "Tensor"]
"""Of a sum, float64: factors that have its axes."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a kernel is applied; one entry a spatial axis, so all empty for a linear layer.

    Attributes:
        stride: of the convolution; of its adjoint where `transposed`.
        dilation: distance of neighbouring taps.
        groups: number of diagonal blocks in which channels are mapped.
        transposed: the layer is the adjoint of the convolution with these weights.
        padding: at the beginning of each axis, then at the end of each (ONNX order); empty where unknown.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        output_padding: of a transposed layer, further outputs at the end of each axis; empty for none.
        either_way: beginnings and ends of the padding may be swapped, for runtimes differ.
        any_output: whoever calls a transposed layer may have up to a stride more of it at the ends of axes.
    """

    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False
    padding: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    output_padding: tuple[int, ...] = ()
    either_way: bool = False
    any_output: bool = False

    @property
    def op(self) -> str:
        """The ONNX operator type of a layer that applies its kernel so."""
        if self.transposed:
            return TRANSPOSED
        return CONV if self.stride else MATRIX

    @property
    def margins(self) -> tuple[int, ...]:
        """`padding` less the output padding at the ends.

        So much of its whole output a transposed layer leaves out; zeros are added where that is negative.
        """
        axes = len(self.padding) // 2
        further = self.output_padding or (0,) * axes
        ends = (pad - more for pad, more in zip(self.padding[axes:], further, strict=True))
        return (*self.padding[:axes], *ends)

    @property
    def readings(self) -> tuple[Geometry, ...]:
        """Each way in which a runtime may apply the kernel; of any output, the shortest and the longest."""
        axes = len(self.padding) // 2
        if self.any_output:
            further = self.output_padding or (0,) * axes
            most = tuple(max(more, s - 1) for more, s in zip(further, self.stride, strict=True))
            return (self,) if most == further else (self, replace(self, output_padding=most))
        swapped = self.padding[axes:] + self.padding[:axes]
        if not self.either_way or swapped == self.padding:
            return (self,)
        return self, replace(self, padding=swapped)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of an audit's table, before anything is measured.

    Attributes:
        key: of its `LinearMap` in the graph; None where there is no graph.
        name: unique in the network.
        weight: name of the weight tensor in the file.
        aliases: further names of the same layer (tied weights, shared nodes).
        op: ONNX operator type.
        kernel_shape: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        dtype: as stored, e.g. "float16".
        update: of the adapter whose row it is; None for a layer's weight itself.
    """

    key: Hashable = None
    name: str
    weight: str
    aliases: tuple[str, ...] = ()
    op: str
    kernel_shape: tuple[int, ...]
    dtype: str
    update: Update | None = None


@dataclass(frozen=True, kw_only=True)
class Layer(Row):
    """A layer that is a linear map: a convolution (D >= 1 spatial axes) or a matrix (D = 0).

    Attributes:
        key, name, weight, aliases, op, kernel_shape, dtype, update: as of `Row`.
        geometry: how the kernel is applied.
        input_size: spatial size of the layer's input; None where unknown.
        assumed: what the file does not say and was taken for granted, in plain words.
        presumed: the one of these that says that it is a layer at all; empty where the file does.
        read: gives the effective weight, a real floating-point tensor of `kernel_shape`.
        home: how that is stored; raises `NoHomeError` where another one cannot be.
    """

    geometry: Geometry
    input_size: tuple[int, ...] | None = None
    assumed: tuple[str, ...] = ()
    presumed: str = ""
    read: Callable[[], Tensor] = field(repr=False)
    home: Callable[[], Home] = field(default=homeless, repr=False)


@dataclass(frozen=True, kw_only=True)
class UnsupportedLayer(Row):
    """A row without figures, and why.

    Attributes:
        key, name, weight, aliases, op, kernel_shape, dtype, update: as of `Row`.
        reason: why not, in plain words.
        applicable: whether it is a layer, which convsv cannot audit; else it is stored like a weight and is
            none, such as an embedding table, so that there is nothing to audit.
        layer: what to audit where a user says that it is a layer; None where nothing can be.
    """

    reason: str
    applicable: bool = True
    layer: Layer | None = field(default=None, repr=False)


def layer_name(weight: str) -> str:
    """What a layer is called by the name of its weight: that without "weight" at its end."""
    return re.sub(r"(^|[._])weight$", "", weight) or weight


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is added to the weight of a layer.

    Attributes:
        module: what the adapter calls the layer.
        kind: "LoRA", "DoRA", "LoHa", "LoKr", "full".
        rank: of its factors; None where these are whole.
        scale: what their product is multiplied by.
        factors: gives the update as a product of factors; of DoRA what is added before it rescales the sum.
        rescale: what the sum is multiplied by, slice by slice, to be the layer's weight; None for 1.
        flat: whether the factors have all taps of a kernel in one axis, so that they do not tell its size.
        transposed: whether the base's weight is stored as inputs x outputs.
        base: the layer of the base; None without one.
        no_base: why there is none; empty where nobody asked.
    """

    module: str
    kind: str
    rank: int | None = None
    scale: float = 1.0
    factors: Callable[[], Factored] = field(repr=False)
    rescale: Rescale | None = field(default=None, repr=False)
    flat: bool = False
    transposed: bool = False
    base: Layer | None = field(default=None, repr=False)
    no_base: str = ""
