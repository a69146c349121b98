"""Losses of classifiers, by scores [N, C, ...] and classes that are held fixed, known or not.

Each target looks at its own scores, so that the squares of what losses move by add up. Let w be the weights
of the targets, 0 for those that are ignored, and L what a loss of weight 1 moves by. Losses by themselves
move by L max|w|, their sum by L |w|_2, and their mean, which divides by the sum of weights, by
L |w|_2 / |sum w|; that is at most L where no weight is negative. All are attained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.operands import ZERO, require_constant, size_of
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import UP, root, times, up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = NDArray[np.float64]

TARGET = 16
"""Steps of the model's allowance for each target."""


def looked_up(operation: Operation) -> float:
    """NegativeLogLikelihoodLoss: minus the score of each target; L = 1."""
    require_constant(operation, 1, 2)
    return times(_reduced(operation), operation.input(0).lipschitz)


def entropy(operation: Operation) -> float:
    """SoftmaxCrossEntropyLoss: its gradient is softmax minus the target; L = sqrt(2), 0 for a single class.

    Its other output, the log-softmax, moves by sqrt(C); the larger of both counts.
    """
    require_constant(operation, 1, 2)
    classes, found = size_of(operation.input(0), 1), 0.0
    if operation.outputs[0][0]:
        found = times(root(2 if classes > 1 else 0), _reduced(operation))
    if any(name for name, _ in operation.outputs[1:]):
        found = max(found, root(classes))
    return times(found, operation.input(0).lipschitz)


def _reduced(operation: Operation) -> float:
    """What the reduction makes of losses that move by their weights."""
    reduction, known = operation.attribute("reduction", "mean"), operation.input(1).read is not None
    if reduction not in ("none", "sum", "mean"):
        raise UnboundedError(f"its reduction {reduction!r} is unknown to convsv")
    weights = _weights(operation) if known else _by_class(operation)
    largest = float(np.abs(weights).max(initial=0.0))
    if reduction == "none" or not largest:
        return largest
    relative, count = weights / largest, _targets(operation)  # squares neither underflow nor overflow
    length = float(np.linalg.norm(relative)) * up(count) if known else root(count)
    if reduction == "sum":
        return times(largest, length)
    if not known:
        return _averaged(operation, weights, count)
    sum_ = abs(float(relative.sum())) - up(count) * count * 2.0**-52
    if sum_ <= 0:
        raise UnboundedError("a mean by weights that add up to zero")
    return length / sum_ * UP


def _averaged(operation: Operation, by_class: Weights, count: int) -> float:
    """The mean over targets that are not known."""
    if (by_class < 0).any():
        raise UnboundedError("a mean by weights that may add up to zero")
    equal = by_class.min() == by_class.max() and operation.node.attributes.get("ignore_index") is None
    return UP / np.sqrt(count) if equal and count else 1.0


def _by_class(operation: Operation) -> Weights:
    """The weight of each class, float64 [C]; one 1 where all have that."""
    weights = operation.optional(2)
    found = np.ones(1) if weights is None else weights.value().astype(np.float64)
    if not np.isfinite(found).all():
        raise UnboundedError("its weights hold NaN or infinity")
    return found


def _weights(operation: Operation) -> Weights:
    """The weight of each target, float64 [targets]; 0 for those that are ignored."""
    by_class, targets = _by_class(operation), operation.input(1).value().ravel().astype(np.int64)
    limits.spend(TARGET * targets.size, "the weights of its targets")
    ignored = targets == operation.attribute("ignore_index", -(2**63))
    classes = len(by_class) if len(by_class) > 1 else np.iinfo(np.int64).max
    if not (ignored | ((targets >= 0) & (targets < classes))).all():
        raise UnboundedError("a target that is no class")
    found = by_class[np.where(ignored, 0, targets) if len(by_class) > 1 else np.zeros_like(targets)]
    weights: Weights = np.where(ignored, 0.0, found)
    return weights


def _targets(operation: Operation) -> int:
    """How many there are."""
    if operation.input(1).read is not None:
        return operation.input(1).value().size
    return int(np.prod(operation.input(1).sizes(), dtype=object))


def _score_range(operation: Operation) -> Range:
    """Of weights times scores, up to all of them together."""
    return _loss_range(operation, operation.input(0).range.magnitude)


def _entropy_range(operation: Operation) -> Range:
    """Log-softmax is at most 0, and at least lower - upper - log(C)."""
    over, classes = operation.input(0).range, size_of(operation.input(0), 1)
    least = outward_range(over.lower - over.upper - float(np.log(max(classes, 1))), 0.0).lower
    if not operation.outputs[0][0]:
        return Range(lower=least, upper=0.0)
    return _loss_range(operation, -least).hull(Range(lower=least, upper=0.0))


def _loss_range(operation: Operation, largest: float) -> Range:
    """Of losses of which none is above `largest` for a weight of 1.

    A mean by weights of one sign lies between losses.
    """
    by_class, reduction = _by_class(operation), operation.attribute("reduction", "mean")
    weight = float(np.abs(by_class).max(initial=0.0))
    if reduction == "mean":
        weight = 1.0 if (by_class >= 0).all() else np.inf
    if reduction == "sum":
        weight *= _targets(operation)
    most = weight * largest if weight else 0.0
    return ZERO.hull(outward_range(-most, most))


RULES = {
    "NegativeLogLikelihoodLoss": Rule(lipschitz=looked_up, range=_score_range),
    "SoftmaxCrossEntropyLoss": Rule(lipschitz=entropy, range=_entropy_range),
}
