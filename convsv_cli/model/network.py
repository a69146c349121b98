"""A network as a loader gives it: its layers, and the graph of its computation where the file has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convsv_cli.model.graph import Graph
    from convsv_cli.model.layer import Layer, UnsupportedLayer


ADAPTER = "adapter"
"""The format of files whose rows are of what they add to the weights of a network that they do not hold."""
NO_GRAPH = {
    ADAPTER: "an adapter says what it adds to the weights of a network, not what that network is",
    "checkpoint": "a checkpoint holds weights, but no graph to bound",
    "safetensors": "a safetensors file holds weights, but no graph to bound",
    "gguf": "a GGUF file holds weights, but no graph to bound",
    "pickled_module": "a pickled module holds its layers, but not the code that connects them",
    "module": "a module alone does not say what it is called with: pass example_input",
    "torchscript": "the code of this TorchScript archive gives no graph",
}
"""Why there is no graph in a `Network`, by the format of its file; see `Network.graph_missing`."""


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
        format: "onnx", "checkpoint", "pickled_module", "torchscript", "safetensors", "gguf", "pt2",
            "adapter", "module".
        files: every file that was read, relative to the model's folder, with `path`'s name first.
        sources: for each of `files`, the model that it belongs to; empty where that is `path` for all.
        opset: of the default ONNX domain; None for other formats.
        inputs: name and shape of each graph input, unknown dimensions as their name or "?".
        layers: in the order of the file.
        notes: what a reader of the audit should know, in plain words.
        left_out: those of the notes that are about what could be weights: an audit without that is not
            complete.
        graph: the whole computation, at the input size asked for; None where the file has only weights.
        executable: gives the ONNX model that the graph is, where the file is no such; further files that the
            model names lie next to it.
        no_graph: why a file that holds one has none here, in plain words; empty for others.
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
    executable: Callable[[], bytes] | None = field(default=None, repr=False)
    no_graph: str = ""

    @property
    def graph_missing(self) -> str:
        """Why a network without a graph has none, in plain words."""
        return self.no_graph or NO_GRAPH.get(self.format, f"convsv takes no graph from a {self.format} file")


def _shape_like(known: Sequence[int | str], sample: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample, as an input takes it of which some sizes are open."""
    moved = (*sample[-1:], *sample[:-1])
    for shape in (sample, moved, (1, *sample)):
        if len(shape) == len(known) and all(
            size == own for size, own in zip(known, shape, strict=True) if isinstance(size, int)
        ):
            return shape
    return sample
