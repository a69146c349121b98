"""What does not vary with the network's input: results of nodes, their shapes, branches that are taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from convsv_cli.lipschitz.dependencies import by_chance
from convsv_cli.lipschitz.operation import Operation, Tensor
from convsv_cli.lipschitz.scalar.operators import COLLAPSED
from convsv_cli.model.graph import Body, Constant, Node, UnknownValueError

SHAPES = ("Shape", "Size")
COUNTING = frozenset(("NonZero", "Compress", "Unique", "NonMaxSuppression", "Loop", "Scan", "StringSplit"))
"""What has as many results as its input's values say."""
SIZED = {"Resize": 1, "Upsample": 1, "OneHot": 1, "Range": 0}
"""What real inputs give its size to, by the index of the first of these."""


def has_static_shape(operation: Operation, inputs: Sequence[Tensor]) -> bool:
    """Whether the shapes of results do not vary with values; nothing is known of foreign operators.

    Args:
        operation: the node.
        inputs: all that its results depend on.
    """
    op = operation.node.op
    sizing = operation.inputs[SIZED[op] :] if op in SIZED else ()
    sized = any(tensor is not None and not tensor.constant for tensor in sizing)
    unknown = op in COUNTING or "." in op.removeprefix("convsv.")
    return not (unknown or sized or any(tensor.discrete or not tensor.static_shape for tensor in inputs))


def asks_for_infinities(node: Node, constants: Mapping[str, Callable[[], Constant]]) -> bool:
    """Whether a node says where its input is infinite, or no number.

    Args:
        node: of the graph.
        constants: of it, by name.
    """
    if node.op in ("IsInf", "IsNaN"):
        return True
    stored = [name for name in node.inputs if name in constants]
    if node.op != "Equal" or len(stored) != 1:
        return False
    try:
        values = constants[stored[0]]().read()
    except UnknownValueError:
        return False
    return values.dtype.kind == "f" and values.size == 1 and bool(np.isinf(values).all())


def is_constant(
    node: Node,
    inputs: Sequence[Tensor],
    constants: Mapping[str, Callable[[], Constant]],
    *,
    bounded: bool = False,
) -> bool:
    """Whether a node's result does not vary: that of constants, or a shape, which the input size decides.

    Nor does it vary where a tensor is infinite, or no number, if all before it has a bound: a mask alone has
    made it so. One operator without is enough for the opposite: log x is no number for x below zero.

    Args:
        node: of the graph.
        inputs: all that its results depend on.
        constants: of the graph, by name.
        bounded: whether everything before the node has a bound, of whatever it is given.
    """
    if (
        bounded
        and asks_for_infinities(node, constants)
        and all(math.isfinite(tensor.bound) and not tensor.discrete for tensor in inputs)
    ):
        return True
    if node.op in SHAPES and all(tensor.static_shape for tensor in inputs):
        return True
    known = "." not in node.op or node.op == COLLAPSED
    return all(tensor.constant for tensor in inputs) and not by_chance(node) and known


def possible(condition: Tensor, node: Node) -> Iterable[Body]:
    """The branches of an If that may be taken.

    Args:
        condition: which of them is.
        node: the If.
    """
    branches: Mapping[str, Body] = dict(node.bodies)
    if condition.read is not None:
        try:
            taken = bool(condition.read().ravel()[0])
        except UnknownValueError:
            return branches.values()
        return [branches["then_branch" if taken else "else_branch"]]
    return branches.values()
