"""A pattern, and the words of its hand-written spellings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

Text = Callable[[int], str]
"""The body of a graph from `x` (and `z`) to `y` at an opset, as `onnx.parser` reads it; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A function, and how it is spelled.

    Attributes:
        name: unique.
        true: its Lipschitz constant (L2, of all inputs together); None where it is not known.
        shapes: of its inputs.
        torch: computes it; None where torch has no such thing.
        texts: hand-written graphs, by the spelling's name.
        box: what entries of the inputs are in; None for anything.
    """

    name: str
    true: float | None
    shapes: Sequence[Sequence[int]] = ((1, 4, 6, 6),)
    torch: Callable[..., Tensor] | nn.Module | None = None
    texts: Mapping[str, Text] = field(default_factory=dict)
    box: tuple[float, float] | None = None


def ints(name: str, *values: int) -> str:
    """A constant list of integers, at every opset."""
    return f"{name} = Constant <value = int64[{len(values)}] {{{', '.join(map(str, values))}}}> ()\n"


def split(opset: int, source: str, results: Sequence[str], sizes: Sequence[int], axis: int = 1) -> str:
    """A Split into parts of given sizes."""
    names = ", ".join(results)
    if opset < 13:
        return f"{names} = Split <axis = {axis}, split = [{', '.join(map(str, sizes))}]> ({source})\n"
    return ints(f"{source}_sizes", *sizes) + f"{names} = Split <axis = {axis}> ({source}, {source}_sizes)\n"


def sliced(source: str, result: str, start: int, end: int, axis: int = 1) -> str:
    """A Slice along one axis."""
    ends = "".join(ints(f"{result}_{i}", value) for i, value in enumerate((start, end, axis)))
    return f"{ends}{result} = Slice ({source}, {result}_0, {result}_1, {result}_2)\n"


def reduced(opset: int, op: str, source: str, result: str, axis: int) -> str:
    """A reduction along one axis, which is kept."""
    if opset < (13 if op == "ReduceSum" else 18):
        return f"{result} = {op} <axes = [{axis}], keepdims = 1> ({source})\n"
    return ints(f"{result}_axes", axis) + f"{result} = {op} <keepdims = 1> ({source}, {result}_axes)\n"


def reshaped(source: str, result: str, *sizes: int) -> str:
    """A Reshape."""
    return ints(f"{result}_shape", *sizes) + f"{result} = Reshape ({source}, {result}_shape)\n"


def padded(opset: int, source: str, result: str, mode: str, *pads: int) -> str:
    """A Pad; nothing where the opset has no such mode."""
    if mode == "wrap" and opset < 19:
        return ""
    return ints(f"{result}_pads", *pads) + f'{result} = Pad <mode = "{mode}"> ({source}, {result}_pads)\n'


def plain(text: str) -> Text:
    """The same at every opset."""
    return lambda _: text
