"""Operators that move entries about: each result is an entry of a tensor, or 0.

Where entries go is found by moving their numbers: the operator itself, applied to 0, 1, 2 and so on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from convsv_cli.differentiable import OPERATORS, UndifferentiableError
from convsv_cli.differentiable.operators import Values
from convsv_cli.local.lowering.context import Lowering, Table
from convsv_cli.local.maps import Shape
from convsv_cli.local.runtimes import kept
from convsv_cli.local.steps import NoLocalCertificateError
from convsv_cli.model.graph import Node


def moved(node: Node, to: Lowering) -> None:
    """What has one tensor that varies, and further inputs that say where its entries go."""
    name = node.inputs[0]
    if any(to.varies(other) for other in node.inputs[1:]):
        raise NoLocalCertificateError("where entries go depends on the network's input")
    others = tuple(to.constant(other) if other else None for other in node.inputs[1:])
    results = _applied(node, numbers(to.shape(name)), others)
    for made, result in zip(node.outputs, results, strict=False):
        if made:
            given = to.shape(made)
            if math.prod(given) != result.numel():
                raise NoLocalCertificateError("its result has another shape than the graph says")
            to.select(node, name, result.flatten()[None] - 1, given, output=made)


def pad(node: Node, to: Lowering) -> None:
    """Pad, by zeros."""
    value = node.input(2)
    if value and (to.varies(value) or bool(to.constant(value).any())):
        raise NoLocalCertificateError("it pads by other numbers than 0")
    moved(node, to)


def concat(node: Node, to: Lowering) -> None:
    """Concat: the sum of all tensors, each surrounded by zeros, and of constants where they go."""
    output, axis = node.outputs[0], node.attribute("axis", 0)
    given = to.shape(output)
    parts, shift, start = [], torch.zeros(given, dtype=torch.float64), 0
    for name in node.inputs:
        shape = to.shape(name)
        window = (slice(None),) * (axis % len(given)) + (slice(start, start + shape[axis]),)
        start += shape[axis]
        if to.varies(name):
            index = torch.zeros(given, dtype=torch.int64)
            index[window] = numbers(shape)
            parts.append(to.selection(name, index.flatten()[None] - 1, given))
        else:
            shift[window] = to.constant(name).double()
    if bool(shift.any()):
        to.affine(node, parts, shift=shift, off=kept(shift), output=output)
    else:
        to.affine(node, parts, output=output)


def numbers(shape: Shape) -> Tensor:
    """The entries of a tensor, numbered from 1, so that 0 is none."""
    return torch.arange(1, math.prod(shape) + 1).reshape(shape)


def _applied(node: Node, values: Tensor, others: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    try:
        found = OPERATORS[node.op](Values(node=node, inputs=(values, *others)))
    except UndifferentiableError as error:
        raise NoLocalCertificateError(str(error)) from error
    except RuntimeError as error:
        raise NoLocalCertificateError("its attributes and inputs do not fit together") from error
    return found if isinstance(found, tuple) else (found,)


MOVING = ("Dropout", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
ROWS: Table = {**dict.fromkeys(MOVING, moved), "Concat": concat, "Pad": pad}
