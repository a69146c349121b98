"""Functions of numbers: piecewise linear ones as they are, and others between two that are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.lipschitz.scalar.expressions import SWITCH, Expression, X, number
from convsv_cli.lipschitz.scalar.operators import BUILDERS, COLLAPSED, LEAK, expressed
from convsv_cli.lipschitz.scalar.steepness import steepness
from convsv_cli.lipschitz.scalar.tables import values_over
from convsv_cli.local import pieces
from convsv_cli.local.arithmetic import Arithmetic
from convsv_cli.local.envelopes import envelope
from convsv_cli.local.execution import execution_error
from convsv_cli.local.lowering.context import Lowering, Table
from convsv_cli.local.pieces import Coefficient, Enclosure, Piecewise
from convsv_cli.local.runtimes import OffElementwise, levels, line
from convsv_cli.local.steps import NoLocalCertificateError
from convsv_cli.model.graph import Node
from convsv_cli.numerics.intervals import Intervals
from convsv_cli.numerics.rounding import gamma


def relu(node: Node, to: Lowering) -> None:
    """Relu."""
    _piecewise(node, to, pieces.relu())


def absolute(node: Node, to: Lowering) -> None:
    """Abs."""
    _piecewise(node, to, pieces.absolute())


def leaky_relu(node: Node, to: Lowering) -> None:
    """LeakyRelu."""
    _piecewise(node, to, pieces.hinge(float(node.attribute("alpha", LEAK))))


def parametric_relu(node: Node, to: Lowering) -> None:
    """PRelu, by slopes that fit the shape."""
    slopes, shape = to.constant(node.inputs[1]).double(), to.shape(node.inputs[0])
    if np.broadcast_shapes(slopes.shape, shape) != shape:
        raise NoLocalCertificateError("its tensor is repeated to fit its slopes")
    _piecewise(node, to, pieces.hinge(slopes.broadcast_to(shape)[None]))


def clip(node: Node, to: Lowering) -> None:
    """Clip, by two numbers."""
    limits = [-math.inf, math.inf]
    for i in (0, 1):
        name = node.input(i + 1)
        if name:
            limits[i] = float(to.constant(name))
    if any(map(math.isnan, limits)):
        raise NoLocalCertificateError("one of its limits is not a number")
    _piecewise(node, to, pieces.clip(*limits))


def smooth(node: Node, to: Lowering) -> None:
    """Any other function of one number, between two piecewise linear ones."""
    varying = [name for name in node.inputs if name and to.varies(name)]
    if len(varying) != 1:
        raise NoLocalCertificateError("there are no linear bounds of it where several tensors vary")
    operands = [_operand(name, varying[0], to) for name in node.inputs]
    try:
        expression = expressed(node, operands)
    except UnboundedError as error:
        raise NoLocalCertificateError(str(error)) from error
    _enclosed(node, to, varying[0], expression)


def collapsed(node: Node, to: Lowering) -> None:
    """A sub-graph that is a function of one number."""
    expression, ops = node.attribute("expression", X), node.attribute("ops", ())
    if expression.count(lambda part: part.op == SWITCH):
        raise NoLocalCertificateError("it chooses between functions by a comparison")
    _enclosed(node, to, node.inputs[0], expression, spelled="Exp" in ops)


def _operand(name: str, varying: str, to: Lowering) -> Expression | None:
    if name == varying:
        return X
    if not name:
        return None
    value = to.constant(name)
    if value.numel() != 1:
        raise NoLocalCertificateError("one of its constants is not a single number")
    return number(float(value))


def _piecewise(node: Node, to: Lowering, enclosure: Enclosure) -> None:
    """What is piecewise linear, but for rounding at most."""
    function = enclosure.lower
    if not all(math.isfinite(_largest(slope)) for slope in function.slopes):
        raise NoLocalCertificateError("one of its slopes is not a number")
    plain = all(isinstance(slope, float) and abs(slope) in {0.0, 1.0} for slope in function.slopes)
    exact = plain and all(
        0.0 in {slope, intercept}
        for slope, intercept in zip(function.slopes, function.intercepts, strict=True)
        if not isinstance(intercept, Tensor) and not isinstance(slope, Tensor)
    )
    lipschitz = max(map(_largest, function.slopes))
    to.elementwise(
        node,
        node.inputs[0],
        lambda argument: function(argument).to(argument.dtype),
        lambda _lower, _upper: enclosure,
        lipschitz=lipschitz,
        error=None if exact else _rounding(function),
        off=_off(function, exact=exact),
        output=node.outputs[0],
    )


def _off(function: Piecewise, *, exact: bool) -> OffElementwise | None:
    """Levels, such as those of Clip, are stored; slopes are, too, and multiplied by."""
    if not exact:
        return line(function.slopes, function.intercepts)
    constants = [float(each) for each in function.intercepts if each]
    return levels(torch.tensor(constants, dtype=torch.float64)) if constants else None


def _rounding(function: Piecewise) -> Callable[[Tensor, Tensor], Tensor]:
    """A value is the sum of two numbers, of which one is a product."""
    most = max(_largest(intercept) for intercept in function.intercepts)
    return lambda _argument, value: gamma(6) * (value.abs() + 2 * most) + 1e-300


def _largest(coefficient: Coefficient) -> float:
    return float(coefficient.abs().max()) if isinstance(coefficient, Tensor) else abs(coefficient)


def _enclosed(node: Node, to: Lowering, name: str, expression: Expression, *, spelled: bool = False) -> None:
    lipschitz = steepness(expression)
    if not math.isfinite(lipschitz):
        raise NoLocalCertificateError("its slope has no bound")

    def off(arithmetic: Arithmetic, lower: Tensor, upper: Tensor) -> Tensor:
        return execution_error(expression, lower, upper, arithmetic, spelled=spelled)

    to.elementwise(
        node,
        name,
        lambda argument: _middle(expression, argument)[0],
        lambda lower, upper: _envelope(expression, lower, upper),
        lipschitz=lipschitz,
        error=lambda argument, _value: _middle(expression, argument)[1],
        off=off,
        output=node.outputs[0],
    )


def _envelope(expression: Expression, lower: Tensor, upper: Tensor) -> Enclosure:
    try:
        return envelope(expression, lower, upper)
    except UnboundedError as error:
        raise NoLocalCertificateError(str(error)) from error


def _middle(expression: Expression, argument: Tensor) -> tuple[Tensor, Tensor]:
    """A float near the function's value, and a bound of its distance from that."""
    points = argument.detach().double().numpy().reshape(-1)
    found = values_over(expression, Intervals(points, points))
    middle = found.lower / 2 + found.upper / 2
    off = np.maximum(found.upper - middle, middle - found.lower) * (1 + 1e-15) + 1e-300
    value, error = (torch.from_numpy(each).reshape(argument.shape) for each in (middle, off))
    return value.to(argument.dtype), error


OTHERS = frozenset(("Add", "Cast", "Div", "Dropout", "Identity", "Max", "Min", "Mul", "Neg", "Sub"))
"""What other families have rules for, or none has."""
ROWS: Table = {
    **dict.fromkeys(BUILDERS.keys() - OTHERS, smooth),
    "Abs": absolute,
    "Clip": clip,
    COLLAPSED: collapsed,
    "LeakyRelu": leaky_relu,
    "PRelu": parametric_relu,
    "Relu": relu,
}
