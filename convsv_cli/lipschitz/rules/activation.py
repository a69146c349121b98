"""Element-wise functions, and those that make probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from convsv_cli.digits import short
from convsv_cli.lipschitz.lengths import finite
from convsv_cli.lipschitz.operands import ZERO, any_of_them, copies, magnitude, unbounded
from convsv_cli.lipschitz.operation import RANGE, Lengths, Operation, Rule, Tensor, UnboundedError
from convsv_cli.lipschitz.scalar.expressions import Expression, X, number
from convsv_cli.lipschitz.scalar.operators import BUILDERS, COLLAPSED, expressed, steepest
from convsv_cli.lipschitz.scalar.steepness import steepness, value_at, values
from convsv_cli.numerics.intervals import ANYTHING, Range, outward_range
from convsv_cli.numerics.rounding import UP, root, root_of_squares, times, total

MEET = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min"))  # their rules are in merge.py

STEPS: Mapping[str, Callable[[float], float]] = {
    "Sign": lambda x: float(np.sign(x)),
    "Round": lambda x: float(np.rint(x)),
    "Floor": lambda x: float(np.floor(x)),
    "Ceil": lambda x: float(np.ceil(x)),
}


def applied(operation: Operation) -> float:
    """One function of each entry: sup|f'| over what the input is known to be in."""
    expression = _expression(operation)
    known = steepest(operation.node)
    over = operation.varying[0].range
    if over != ANYTHING or not math.isfinite(known):
        known = min(known, steepness(expression, over))
    if not math.isfinite(known):
        raise UnboundedError(_why(over), lacks="" if over.finite else RANGE)
    return times(known, operation.varying[0].lipschitz)


def clipped(operation: Operation) -> float:
    """Clip: min(max(x, a), b), where limits that vary count as in Max and Min."""
    if any(not tensor.constant for tensor in operation.given[1:]):
        return root_of_squares(times(copies(each, operation), each.lipschitz) for each in operation.varying)
    return applied(operation)


def _clipped_range(operation: Operation) -> Range:
    if any(not tensor.constant for tensor in operation.given[1:]):
        return any_of_them(operation)
    return _applied_range(operation)


def dropped(operation: Operation) -> float:
    """Dropout: the identity, whatever its ratio is, unless it is training."""
    training = operation.optional(2)
    if training is None or (training.read is not None and not training.value().any()):
        return operation.input(0).lipschitz
    return applied(operation)


def _why(over: Range) -> str:
    if over.finite:
        return f"its slope has no bound for inputs in [{short(over.lower, 4)}, {short(over.upper, 4)}]"
    return "its slope has no bound, as its input may be arbitrarily large"


def _expression(operation: Operation) -> Expression:
    """What the node does to each entry of the input that varies."""
    if len(operation.varying) != 1:
        raise UnboundedError("a function of several tensors that vary with the network's input")
    operands = [None if tensor is None else _operand(tensor) for tensor in operation.inputs]
    return expressed(operation.node, operands)


def _operand(tensor: Tensor) -> Expression:
    if not tensor.constant:
        return X
    value = tensor.value()
    if value.size != 1 or value.dtype.kind not in "fiub":
        raise UnboundedError(f"its input {tensor.name!r} is not one number")
    return number(float(value.reshape(-1)[0]))


def _applied_range(operation: Operation) -> Range:
    """Of one tensor; that may be held fixed, at values of which nothing but their range is known."""
    if not operation.varying:
        inputs = (t if t is None or not t.held else replace(t, bound=1.0) for t in operation.inputs)
        operation = replace(operation, inputs=tuple(inputs))
    return values(_expression(operation), operation.varying[0].range)


def prelu(operation: Operation) -> float:
    """PRelu: 1 above 0, the slopes below."""
    slopes, varying = operation.input(1), operation.input(0)
    if not slopes.constant:
        raise UnboundedError("its slope varies with the network's input")
    if _repeats(slopes, varying):
        raise UnboundedError("its slopes do not fit its input")
    slope = 1.0 if varying.range.upper > 0 else 0.0
    if varying.range.lower < 0:
        slope = max(slope, magnitude(slopes))
    return times(slope, varying.lipschitz)


def _repeats(slopes: Tensor, varying: Tensor) -> bool:
    """Whether slopes need a larger input, which runtimes then repeat; ONNX does not allow it."""
    if slopes.shape is None or varying.shape is None:
        return False
    pairs = zip(slopes.shape[::-1], varying.shape[::-1], strict=False)
    return len(slopes.shape) > len(varying.shape) or any(a != 1 and b == 1 for a, b in pairs)


def _prelu_range(operation: Operation) -> Range:
    x, slopes = operation.input(0).range, operation.input(1).range
    below = min(x.lower, 0.0)
    if not math.isfinite(below) or not slopes.finite:
        return ANYTHING
    ends = (below * slopes.lower, below * slopes.upper, max(x.upper, 0.0), 0.0)
    return outward_range(min(ends), max(ends))


def stepped(operation: Operation) -> float:
    """Sign, Round, Floor, Ceil: constant where both ends of the range give the same."""
    over, step = operation.input(0).range, STEPS[operation.node.op]
    if not over.finite or step(over.lower) != step(over.upper):
        raise UnboundedError("it jumps")
    return 0.0


def _stepped_range(operation: Operation) -> Range:
    over, step = operation.input(0).range, STEPS[operation.node.op]
    return Range(lower=step(over.lower), upper=step(over.upper))


def thresholded(operation: Operation) -> float:
    """ThresholdedRelu: the identity above alpha and 0 elsewhere."""
    alpha, tensor = operation.attribute("alpha", 1.0), operation.input(0)
    if tensor.range.lower > alpha:
        return tensor.lipschitz
    return 0.0 if tensor.range.upper <= alpha else applied(operation)


def _thresholded_range(operation: Operation) -> Range:
    alpha, over = operation.attribute("alpha", 1.0), operation.input(0).range
    kept = Range(lower=max(over.lower, alpha), upper=over.upper)
    if over.upper <= alpha:
        return ZERO
    return kept if over.lower > alpha else kept.hull(ZERO)


def softmax(operation: Operation) -> float:
    """The Jacobian diag(s) - s s' has norm <= 1/2 (Gao & Pavel 2017, arXiv 1704.00805), of all rows alike."""
    return times(0.5, operation.input(0).lipschitz)


def log_softmax(operation: Operation) -> float:
    """The Jacobian J = I - 1 s' has norm <= sqrt(n) for n entries together.

    It is largest at a corner s = e_j, where J J' = I + w w' - e_j e_j' with w = 1 - e_j.
    """
    return times(math.sqrt(_together(operation)) * UP, operation.input(0).lipschitz)


def _together(operation: Operation) -> int:
    """How many entries are normalised together: those along one axis."""
    sizes, axis = operation.input(0).sizes(), operation.attribute("axis", -1)
    if not -len(sizes) <= axis <= len(sizes):
        raise UnboundedError(f"its axis {axis} does not exist")
    return sizes[axis] if axis < len(sizes) else 1


def _log_softmax_range(operation: Operation) -> Range:
    """-log sum_j exp(x_j - x_i) >= lower - upper - log(n)."""
    over = operation.input(0).range
    try:
        count = _together(operation)
    except UnboundedError:
        return Range(upper=0.0)
    return Range(lower=outward_range(over.lower - over.upper - math.log(max(count, 1)), 0.0).lower, upper=0.0)


def _probability(_: Operation) -> Range:
    return Range(lower=0.0, upper=1.0)


def _distribution(operation: Operation) -> Lengths:
    """Of what is not negative and adds up to 1."""
    rank, axis = len(operation.input(0).shape or ()), operation.attribute("axis", -1)
    return {axis if axis < 0 else axis - rank: 1.0} if rank else {}


def _applied_lengths(operation: Operation) -> Lengths:
    """|f(x)| <= |f(0)| + sup|f'| |x|, entry by entry, where the slope is bounded everywhere."""
    expression, source = _expression(operation), operation.varying[0]
    steep = min(steepest(operation.node), steepness(expression))
    if not math.isfinite(steep) or source.shape is None:
        return {}
    at_zero, found = value_at(expression, 0.0).magnitude, {}
    for axis, value in source.lengths.items():
        size = source.shape[axis]
        if size is not None:
            found[axis] = total((times(steep, value), times(root(size), at_zero)))
    return finite(found)


_APPLIED = Rule(lipschitz=applied, range=_applied_range, lengths=_applied_lengths)
_STEPPED = Rule(lipschitz=stepped, range=_stepped_range)

RULES: Mapping[str, Rule] = {
    **{op: _APPLIED for op in BUILDERS if op not in MEET},
    "Clip": Rule(lipschitz=clipped, range=_clipped_range),
    "Dropout": Rule(lipschitz=dropped, range=_applied_range),
    **dict.fromkeys(STEPS, _STEPPED),
    COLLAPSED: _APPLIED,
    "PRelu": Rule(lipschitz=prelu, range=_prelu_range),
    "ThresholdedRelu": Rule(lipschitz=thresholded, range=_thresholded_range),
    "Softmax": Rule(lipschitz=softmax, range=_probability, lengths=_distribution),
    "LogSoftmax": Rule(lipschitz=log_softmax, range=_log_softmax_range),
    "Hardmax": Rule(lipschitz=unbounded("it jumps where the largest entry changes"), range=_probability),
}
