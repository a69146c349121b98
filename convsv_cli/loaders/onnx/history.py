"""What nodes of every operator set mean, in terms of the newest one that convsv knows.

The only place that knows how operators changed: constants are computed, and networks bounded, from what comes
out here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from onnx import NodeProto, TensorProto

from convsv_cli.loaders.onnx.rewriting import (
    Reading,
    Rewriting,
    align,
    align_slopes,
    by_position,
    spread_groups,
    to_one_axis,
)
from convsv_cli.loaders.onnx.signatures import OWN, UnreadableNodeError, check_signature, why_unread
from convsv_cli.model.graph import Dims

Change = Callable[[Rewriting], None]


def standard_opset(imports: Mapping[str, int]) -> int:
    """Which version of ONNX's own operators a model imports; the first where it does not say."""
    return max((imports[domain] for domain in OWN if domain in imports), default=1)


def own(node: NodeProto) -> bool:
    """Whether it is one of ONNX's own operators."""
    return node.domain in OWN


def unchanged(node: NodeProto, opset: int) -> Reading | None:
    """The node as it is, where it means the same in the newest operator set; None where it may not.

    Raises:
        UnreadableNodeError: as `as_newest`.
    """
    check_signature(node, opset)
    unread = why_unread(node)
    if unread:
        raise UnreadableNodeError(unread)
    if own(node) and (node.domain or opset < 6 or _changes(node.op_type, opset)):
        return None
    return Reading(nodes=(node,), main=node, constants={}, shapes={})


def as_newest(
    node: NodeProto,
    opset: int,
    *,
    shapes: Sequence[Dims | None],
    dtypes: Sequence[np.dtype | None] = (),
    new: Callable[[str], str],
) -> Reading:
    """The node as nodes of the newest operator set with the same outputs.

    Args:
        node: is not changed.
        opset: whose rules it follows.
        shapes, dtypes: of its inputs, as far as they are known.
        new: makes a name that no tensor has.

    Raises:
        UnreadableNodeError: that operator set does not define it, or convsv does not know what it means.
    """
    same = unchanged(node, opset)
    if same is not None:
        return same
    rewriting = Rewriting(node, shapes=shapes, dtypes=dtypes, new=new)
    try:
        for change in _changes(node.op_type, opset):
            change(rewriting)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise UnreadableNodeError("whose attributes and inputs do not fit together") from error
    return rewriting.reading()


@cache
def _changes(op: str, opset: int) -> tuple[Change, ...]:
    """Of an operator since an operator set."""
    return tuple(change for before, change in CHANGES.get(op, ()) if opset < before)


def _input(name: str, index: int, *, empty: bool = True) -> Change:
    """An attribute of integers became an input; an empty one only if `empty`."""

    def change(node: Rewriting) -> None:
        values = node.take(name, None)
        if values is not None and (empty or values):
            node.feed(index, node.constant(np.atleast_1d(values), name))

    return change


def _scalar(name: str, index: int, default: float | None = None) -> Change:
    """An attribute of one number became an input, of the type of the first one."""

    def change(node: Rewriting) -> None:
        value = node.take(name, default)
        if value is not None:
            with np.errstate(over="ignore"):
                node.feed(index, node.constant(value, name, node.dtype))

    return change


def _default(name: str, value: object) -> Change:
    """An attribute has another default now."""

    def change(node: Rewriting) -> None:
        if not node.has(name):
            node.set(name, value)

    return change


def _removed(name: str) -> Change:
    """An attribute that makes no difference here."""
    return lambda node: node.take(name, None)


def _renamed(old: str, name: str) -> Change:
    def change(node: Rewriting) -> None:
        for attribute in node.node.attribute:
            if attribute.name == old:
                attribute.name = name

    return change


def _replaced(op: str) -> Change:
    """It is another operator now; what Resize was in 10, Upsample was."""

    def change(node: Rewriting) -> None:
        node.node.op_type = op

    return change


def _requires(name: str, default: int, otherwise: str) -> Change:
    """A flag that was removed, and that has to be set: else the node cannot be read, for this reason."""

    def change(node: Rewriting) -> None:
        if not node.take(name, default):
            raise UnreadableNodeError(otherwise)

    return change


def _named_type(node: Rewriting) -> None:
    """Cast: the type was a name."""
    name = node.take("to", "")
    try:
        node.set("to", TensorProto.DataType.Value(str(name).upper()))
    except ValueError as error:
        raise UnreadableNodeError(f"to {name!r}, which is not a type") from error


def _trained(node: Rewriting) -> None:
    """BatchNormalization: before 7, it was in training mode unless `is_test` was set."""
    if not node.take("is_test", 0):
        node.set("training_mode", 1)


def _equal_parts(node: Rewriting) -> None:
    """Split: into as many equal parts as there are outputs, where nothing says how long they are."""
    if len(node.node.input) < 2 or not node.node.input[1]:
        node.set("num_outputs", len(node.node.output))


def _first_pad(node: Rewriting) -> None:
    """Pad: in opset 1, the specification orders the ends of each axis differently than its example."""
    mode = node.take("mode", "constant")
    node.set("mode", mode)
    if mode != "constant":
        raise UnreadableNodeError(f"whose definition leaves open the order of its paddings in mode {mode!r}")


def _tiled(_: Rewriting) -> None:
    raise UnreadableNodeError("whose definition does not say whether it repeats entries or the whole input")


def _two_scales(node: Rewriting) -> None:
    """Upsample: of images, by height and width."""
    height, width = node.take("height_scale", 0.0), node.take("width_scale", 0.0)
    node.set("scales", [1.0, 1.0, height, width])


def _scales(node: Rewriting) -> None:
    node.feed(1, node.constant(node.take("scales", ()), "scales", np.float32))


def _integer_power(node: Rewriting) -> None:
    """Pooling: p became an integer; other values stay as they are."""
    power = node.take("p", 2.0)
    node.set("p", int(power) if power == int(power) else power)


def _last_state(node: Rewriting) -> None:
    """RNN and its kind: all states were a result only on request."""
    requested = node.take("output_sequence", 0)
    if any(node.node.output[:1]) and not requested:
        raise UnreadableNodeError("whose states are used, but not requested (output_sequence)")


def _transformed_axis(node: Rewriting) -> None:
    """DFT: the axis was an attribute, and by default the first one after the batch."""
    node.feed(2, node.constant(node.take("axis", 1), "axis"))


def _sampling(node: Rewriting) -> None:
    """GridSample: modes were named after two axes."""
    mode = node.take("mode", "bilinear")
    node.set("mode", {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


def _permutation(node: Rewriting) -> None:
    """Einsum of one tensor that only gives its axes in another order: a Transpose."""
    before, arrow, after = str(node.take("equation", "")).replace(" ", "").partition("->")
    node.set("equation", before + arrow + after)
    shape = node.shapes[0] if len(node.shapes) == 1 else None
    dots = before.startswith("...") and after.startswith("...")
    first, second = (each.removeprefix("...") if dots else each for each in (before, after))
    free = 0 if shape is None else len(shape) - len(first)
    same = sorted(first) == sorted(second) and len(set(first)) == len(first) and first.isalpha()
    if shape is not None and same and (free >= 0 if dots else free == 0):
        node.take("equation", "")
        node.node.op_type = "Transpose"
        node.set("perm", [*range(free), *(free + first.index(each) for each in second)])


_NONE, _FLOAT = float("inf"), float(np.finfo(np.float32).max)
"""Limits of Clip where none are given: before 6, and before 11."""
ALWAYS = sys.maxsize
"""Of what has several forms in every operator set."""
_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_RANDOM = "which drops values at random: is_test is not set"

CHANGES: Mapping[str, tuple[tuple[int, Change], ...]] = {
    **dict.fromkeys(_BINARY, ((7, align),)),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), ((13, to_one_axis),)),
    **{f"Reduce{kind}": ((18, _input("axes", 1, empty=False)),) for kind in _REDUCTIONS},
    **dict.fromkeys(("RNN", "GRU", "LSTM"), ((7, _last_state),)),
    **dict.fromkeys(("GlobalLpPool", "LpPool"), ((2, _integer_power),)),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), ((13, _input("axes", 1)),)),
    "BatchNormalization": ((7, _trained), (9, by_position)),
    "Cast": ((6, _named_type),),
    "Clip": (
        *((6, _default("min", -_NONE)), (6, _default("max", _NONE))),
        *((11, _default("min", -_FLOAT)), (11, _default("max", _FLOAT))),
        *((11, _scalar("min", 1)), (11, _scalar("max", 2))),
    ),
    "Concat": ((4, _default("axis", 1)),),
    "DFT": ((20, _transformed_axis),),
    "Dropout": ((7, _requires("is_test", 0, _RANDOM)), (12, _removed("ratio"))),
    "GroupNormalization": ((21, spread_groups),),
    "Einsum": ((ALWAYS, _permutation),),
    "GridSample": ((20, _sampling),),
    "Gemm": ((7, _removed("broadcast")),),
    "PRelu": ((7, align_slopes),),
    "Pad": (
        *((2, _first_pad), (2, _renamed("paddings", "pads"))),
        *((11, _input("pads", 1)), (11, _scalar("value", 2, 0.0))),
    ),
    "ReduceSum": ((13, _input("axes", 1, empty=False)),),
    "Reshape": ((5, _input("shape", 1)),),
    "Resize": ((11, _replaced("Upsample")),),
    "Scatter": ((11, _replaced("ScatterElements")),),
    "Selu": ((6, _default("alpha", 1.6732)), (6, _default("gamma", 1.0507))),
    "Slice": ((10, _input("starts", 1)), (10, _input("ends", 2)), (10, _input("axes", 3))),
    "Split": ((13, _input("split", 1)), (18, _equal_parts)),
    "Tile": ((6, _tiled),),
    "TopK": ((10, _input("k", 1)),),
    "Upsample": ((7, _two_scales), (9, _scales)),
}
"""By operator, in order of time: before which operator set a node has to be changed, and how."""
