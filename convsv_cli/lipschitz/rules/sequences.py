"""Sequences of tensors, and optional ones: the constant of a sequence is that of its members put together.

What is put into a sequence, taken out of it or left in it is each member at most once, as long as positions
do not vary; those of two sequences are only apart where these have equally many.
"""

from __future__ import annotations

from convsv_cli.lipschitz.operands import any_of_them, first, require_constant, same
from convsv_cli.lipschitz.operation import Operation, Rule
from convsv_cli.numerics.rounding import root_of_squares


def passed(operation: Operation) -> float:
    """SequenceAt, SequenceErase, SplitToSequence, ConcatFromSequence, Optional, OptionalGetElement."""
    return first(operation).lipschitz


def constructed(operation: Operation) -> float:
    """SequenceConstruct: the root of the sum of squares."""
    return root_of_squares(tensor.lipschitz for tensor in operation.given)


def inserted(operation: Operation) -> float:
    """SequenceInsert: of the sequence and of what is put into it."""
    require_constant(operation, 2)
    return root_of_squares((operation.input(0).lipschitz, operation.input(1).lipschitz))


PASSED = (
    "ConcatFromSequence",
    "Optional",
    "OptionalGetElement",
    "SequenceAt",
    "SequenceErase",
    "SplitToSequence",
)

RULES = {
    **dict.fromkeys(PASSED, Rule(lipschitz=passed, range=same)),
    "SequenceConstruct": Rule(lipschitz=constructed, range=any_of_them),
    "SequenceInsert": Rule(
        lipschitz=inserted, range=lambda operation: operation.input(0).range.hull(operation.input(1).range)
    ),
}
