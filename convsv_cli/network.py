"""A network as a loader gives it: its weight layers with their geometry, weights read on demand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from convsv_cli.graph import Graph


NO_GRAPH = {
    "checkpoint": "a checkpoint holds weights, but no graph to bound",
    "safetensors": "a safetensors file holds weights, but no graph to bound",
    "pickled_module": "a pickled module holds its layers, but not the code that connects them",
    "torchscript": "convsv takes no graph from the code of a TorchScript archive",
    "pt2": "convsv takes no graph from a program of torch.export",
}
"""Why there is no graph in a `Network`, by the format of its file; see `Network.graph_missing`."""


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
    """

    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False
    padding: tuple[int, ...] = ()
    padding_mode: str = "zeros"
    output_padding: tuple[int, ...] = ()
    either_way: bool = False

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
        """Each way in which a runtime may apply the kernel."""
        axes = len(self.padding) // 2
        swapped = self.padding[axes:] + self.padding[:axes]
        if not self.either_way or swapped == self.padding:
            return (self,)
        return self, replace(self, padding=swapped)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer that is a linear map: a convolution (D >= 1 spatial axes) or a matrix (D = 0).

    Attributes:
        name: unique in the network.
        weight: name of the weight tensor in the file.
        aliases: further names of the same layer (tied weights, shared nodes).
        op: ONNX operator type.
        kernel_shape: [c_out, c_in / groups, *k]; [c_in, c_out / groups, *k] where transposed.
        dtype: as stored, e.g. "float16".
        geometry: how the kernel is applied.
        input_size: spatial size of the layer's input; None where unknown.
        assumed: what the file does not say and was taken for granted, in plain words.
        presumed: the one of these that says that it is a layer at all; empty where the file does.
        read: gives the effective weight, a real floating-point tensor of `kernel_shape`.
    """

    name: str
    weight: str
    aliases: tuple[str, ...] = ()
    op: str
    kernel_shape: tuple[int, ...]
    dtype: str
    geometry: Geometry
    input_size: tuple[int, ...] | None = None
    assumed: tuple[str, ...] = ()
    presumed: str = ""
    read: Callable[[], Tensor] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class UnsupportedLayer:
    """A row without figures, and why.

    Attributes:
        name, weight, aliases, op, kernel_shape, dtype: as of `Layer`.
        reason: why not, in plain words.
        applicable: whether it is a layer, which convsv cannot audit; else it is stored like a weight and is
            none, such as an embedding table, so that there is nothing to audit.
        layer: what to audit where a user says that it is a layer; None where nothing can be.
    """

    name: str
    weight: str
    aliases: tuple[str, ...] = ()
    op: str
    kernel_shape: tuple[int, ...]
    dtype: str
    reason: str
    applicable: bool = True
    layer: Layer | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class InputSize:
    """The input size that a user asks for.

    Attributes:
        size: spatial size, (224,) for every axis or one entry an axis; None: as in the file.
        shapes: full shapes of named inputs, which win over `size`.
        sample: shape of what the only input is to be fed, one at a time, where its file leaves its size open;
            an axis of one channel may be missing, and channels may come last.
    """

    size: tuple[int, ...] | None = None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    sample: tuple[int, ...] | None = None

    def of_inputs(self, declared: Sequence[tuple[str, Sequence[int | str]]]) -> InputSize:
        """What is asked for of these inputs, without `sample`.

        Args:
            declared: name and shape of each, unknown dimensions as any text; the first is the batch.
        """
        if self.sample is None or len(declared) != 1:
            return replace(self, sample=None)
        ((name, shape),) = declared
        known = shape[1:]
        if all(isinstance(size, int) for size in known):
            return replace(self, sample=None)
        return replace(self, shapes=((name, (1, *_shape_like(known, self.sample))),), sample=None)

    def for_axes(self, axes: int) -> tuple[int, ...] | None:
        """`size` for so many spatial axes; None where it has another number of entries.

        Args:
            axes: how many there are.
        """
        if self.size is None:
            return None
        size = self.size * axes if len(self.size) == 1 else self.size
        return size if len(size) == axes else None

    def __str__(self) -> str:
        return "x".join(map(str, self.size)) if self.size else ""


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a model file holds.

    Attributes:
        path: as the user gave it; the model's file where that was a folder.
        format: "onnx", "checkpoint", "pickled_module", "torchscript", "safetensors", "pt2".
        files: every file that was read, relative to the model's folder, with `path`'s name first.
        sources: for each of `files`, the model that it belongs to; empty where that is `path` for all.
        opset: of the default ONNX domain; None for other formats.
        inputs: name and shape of each graph input, unknown dimensions as their name or "?".
        layers: in the order of the file.
        notes: what a reader of the audit should know, in plain words.
        left_out: those of the notes that are about what could be weights: an audit without that is not
            complete.
        graph: the whole computation, at the input size asked for; None where the file has only weights.
    """

    path: str
    format: str
    files: tuple[str, ...]
    sources: tuple[Path, ...] = ()
    opset: int | None = None
    inputs: tuple[tuple[str, tuple[int | str, ...]], ...] = ()
    layers: tuple[Layer | UnsupportedLayer, ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    graph: Graph | None = field(default=None, repr=False)

    @property
    def graph_missing(self) -> str:
        """Why a network without a graph has none, in plain words."""
        return NO_GRAPH.get(self.format, f"convsv takes no graph from a {self.format} file")


def _shape_like(known: Sequence[int | str], sample: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample, as an input takes it of which some sizes are open."""
    moved = (*sample[-1:], *sample[:-1])
    for shape in (sample, moved, (1, *sample)):
        if len(shape) == len(known) and all(
            size == own for size, own in zip(known, shape, strict=True) if isinstance(size, int)
        ):
            return shape
    return sample


def layer_name(weight: str) -> str:
    """What a layer is called by the name of its weight: that without "weight" at its end."""
    return re.sub(r"(^|[._])weight$", "", weight) or weight
