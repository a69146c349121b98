"""Operators that move entries about: each entry of a result is one of an input, or 0.

Where entries go is found by moving their numbers: the operator itself, applied to 1, 2, 3 and so on, so that
what it fills in by itself is numbered 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor

from convsv_cli.loaders.onnx.evaluation import applied
from convsv_cli.loaders.onnx.signatures import NEWEST
from convsv_cli.local.lowering.context import Lowering, Table
from convsv_cli.local.maps import Shape
from convsv_cli.local.runtimes import kept
from convsv_cli.local.steps import NoLocalCertificateError
from convsv_cli.model.graph import Node, UnknownValueError

Array = NDArray[Any]
Operands = list[Array | None]
MISFIT = "its attributes and inputs do not fit together"


def same(node: Node, to: Lowering) -> None:
    """Identity, and Dropout as it is when nothing is trained."""
    training = node.input(2)
    if training and (to.varies(training) or bool(to.constant(training).any())):
        raise NoLocalCertificateError("it is in training mode")
    to.affine(node, [to.copy(node.inputs[0])], output=node.outputs[0])


def moved(node: Node, to: Lowering) -> None:
    """What takes entries of some of its inputs, and from the others how they go."""
    from_ = TAKEN.get(node.op, (0,)) or tuple(range(len(node.inputs)))
    operands: list[Tensor | None] = []
    starts: dict[int, int] = {}
    count = 0
    for i, name in enumerate(node.inputs):
        if name and i in from_:
            starts[i] = count
            operands.append(numbers(to.shape(name)) + count)
            count += math.prod(to.shape(name))
        elif name and to.varies(name):
            raise NoLocalCertificateError("where entries go depends on the network's input")
        else:
            operands.append(to.constant(name) if name else None)
    for made, result in _applied(node, operands).items():
        if to.shape(made) != result.shape:
            raise NoLocalCertificateError("its result has another shape than the graph says")
        _taken(node, to, made, result - 1, starts)


def scattered(node: Node, to: Lowering) -> None:
    """ScatterElements and ScatterND: data, some of which updates take the place of."""
    if node.attribute("reduction", "none") != "none":
        raise NoLocalCertificateError("it combines what meets at a place")
    moved(node, to)


def _taken(node: Node, to: Lowering, made: str, index: Tensor, starts: Mapping[int, int]) -> None:
    """The tensor of these entries, numbered from 0 through all inputs that have such; -1 for zeros.

    Args:
        starts: the number of the first entry of each of these inputs, by the input's index.
    """
    given, parts = tuple(index.shape), []
    shift = torch.zeros(given, dtype=torch.float64)
    for i, start in starts.items():
        name = node.inputs[i]
        own = index - start
        own = torch.where((own >= 0) & (own < math.prod(to.shape(name))), own, -1)
        if to.varies(name):
            parts.append(to.selection(name, own.flatten()[None], given))
        else:
            values = to.constant(name).double().flatten()
            shift = torch.where(own >= 0, values[own.clamp_min(0)], shift)
    constant = bool(shift.any())
    _check_overwritten(node, to, index, starts)
    to.affine(
        node, parts, shift=shift if constant else None, off=kept(shift) if constant else None, output=made
    )


def _check_overwritten(node: Node, to: Lowering, index: Tensor, starts: Mapping[int, int]) -> None:
    """All updates must be there: of several at one place, ONNX does not say which one stays."""
    if node.op.startswith("Scatter"):
        updates = math.prod(to.shape(node.inputs[2]))
        if int((index >= starts[2]).sum()) != updates:
            raise NoLocalCertificateError("two of its updates go to one place")


def reshaped(node: Node, to: Lowering, name: str, given: Shape, *, output: str = "") -> str:
    """The entries of a tensor, in the same order, in another shape."""
    if to.shape(name) == given and not output:
        return name
    return to.select(node, name, numbers(given).flatten()[None] - 1, given, output=output)


def numbers(shape: Shape) -> Tensor:
    """The entries of a tensor, numbered from 1, so that 0 is none."""
    return torch.arange(1, math.prod(shape) + 1).reshape(shape)


def _applied(node: Node, operands: list[Tensor | None]) -> dict[str, Tensor]:
    """The operator's results, by name."""
    attributes: dict[str, Any] = {name: value for name, value in node.attributes.items() if value != ()}
    form = helper.make_node(node.op, list(node.inputs), list(node.outputs), **attributes)
    arrays: Operands = [None if each is None else np.asarray(each) for each in operands]
    if node.op == "Pad" and node.attribute("mode", "constant") == "constant":
        arrays = _cropped(arrays)
    try:
        found = applied(form, arrays, NEWEST)
    except UnknownValueError as error:
        raise NoLocalCertificateError(MISFIT) from error
    return {name: torch.from_numpy(np.array(each, dtype=np.int64)) for name, each in found.items()}


def _cropped(operands: Operands) -> Operands:
    """Of a Pad: padding by less than nothing, which onnx's reference does not know, is cut off first."""
    data, pads, value, axes = (*operands, None, None)[:4]
    if data is None or pads is None:
        raise NoLocalCertificateError(MISFIT)
    axes = np.arange(data.ndim) if axes is None else axes
    window = [slice(0, size) for size in data.shape]
    for axis, before, after in zip(axes, *np.split(pads, 2), strict=True):
        window[axis] = slice(max(0, -before), data.shape[axis] + min(0, after))
    cut = data[tuple(window)]
    if not cut.size:
        raise NoLocalCertificateError("it cuts off all that there is")
    return [cut, pads.clip(min=0), value, axes]


MOVING = (
    *("CenterCropPad", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherElements"),
    *("GatherND", "Pad", "Reshape", "ReverseSequence", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"),
    *("Transpose", "Trilu", "Unsqueeze", "Where"),
)
TAKEN: Mapping[str, tuple[int, ...]] = {
    "Concat": (),
    "Pad": (0, 2),
    "ScatterElements": (0, 2),
    "ScatterND": (0, 2),
    "Where": (1, 2),
}
"""The inputs whose entries there are in the result, by index: none for all; the first one of any other."""
ROWS: Table = {
    **dict.fromkeys(MOVING, moved),
    **dict.fromkeys(("Dropout", "Identity"), same),
    **dict.fromkeys(("ScatterElements", "ScatterND"), scattered),
}
