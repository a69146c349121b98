"""Sums, means, extremes and the like along axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from onnx import TensorProto

from convsv_cli.digits import short
from convsv_cli.loaders.pt2.translation.writer import Build, Call, UntranslatedError


def _reduced(op: str) -> Build:
    """Along the axes that are given, or all."""

    def build(call: Call) -> str:
        kind, rank = call.kind(), len(call.shape())
        x = call.operand("self", kind)
        axes = call.axes("dim", rank)
        if not rank:
            return call.emit("Identity", x)
        keep = int(call.flag("keepdim"))
        return call.emit(op, x, call.integers(*axes), keepdims=keep)

    return build


def _product(call: Call) -> str:
    """prod, which takes one axis."""
    x, rank = call.operand("self", call.kind()), len(call.shape())
    axes = (call.axis("dim", rank),) if call.has("dim") else tuple(range(rank))
    return call.emit("ReduceProd", x, call.integers(*axes), keepdims=int(call.flag("keepdim")))


def _extreme(op: str) -> Build:
    """Max and min, of all entries, of two tensors, or along an axis with the places."""
    largest = int(op == "ReduceMax")

    def build(call: Call) -> str | Sequence[str]:
        if call.has("other"):
            return call.emit("Max" if largest else "Min", call.tensor(), call.tensor("other"))
        if not call.has("dim"):
            return call.emit(op, call.tensor(), keepdims=0)
        axis, keep = call.axis("dim", len(call.shape())), int(call.flag("keepdim"))
        values = call.emit(op, call.tensor(), call.integers(axis), keepdims=keep)
        places = call.emit("ArgMax" if largest else "ArgMin", call.tensor(), axis=axis, keepdims=keep)
        return [values, places]

    return build


def _placed(op: str) -> Build:
    def build(call: Call) -> str:
        if not call.has("dim"):
            raise UntranslatedError("the place of an extreme of all entries")
        axis = call.axis("dim", len(call.shape()))
        return call.emit(op, call.tensor(), axis=axis, keepdims=int(call.flag("keepdim")))

    return build


def _variance(call: Call) -> tuple[str, str, tuple[int, ...]]:
    """The variance along axes, the mean, and the axes."""
    kind, rank = call.kind(), len(call.shape())
    axes = call.axes("dim", rank)
    count = math.prod(call.shape()[axis] for axis in axes)
    correction = call.number("correction", 1 if call.flag("unbiased", default=True) else 0)
    if count <= correction:
        raise UntranslatedError("a variance of too few entries")
    x, along = call.tensor(), call.integers(*axes)
    mean = call.emit("ReduceMean", x, along, keepdims=1)
    centred = call.emit("Sub", x, mean)
    keep = int(call.flag("keepdim"))
    squares = call.emit("ReduceMean", call.emit("Mul", centred, centred), along, keepdims=keep)
    if correction:
        squares = call.emit("Mul", squares, call.scalar(count / (count - correction), kind))
    return squares, mean, axes


def _var(call: Call) -> str:
    return _variance(call)[0]


def _std(call: Call) -> str:
    return call.emit("Sqrt", _variance(call)[0])


def _both(call: Call) -> Sequence[str]:
    """Variance, or deviation, and mean."""
    squares, mean, axes = _variance(call)
    first = call.emit("Sqrt", squares) if "std" in call.node.target else squares
    return [first, mean if call.flag("keepdim") else call.emit("Squeeze", mean, call.integers(*axes))]


def _norm(call: Call) -> str:
    """Of vectors, in the 1-, 2- or infinity-norm."""
    order, kind, rank = call.number("ord" if call.has("ord") else "p", 2), call.kind(), len(call.shape())
    axes, keep = call.integers(*call.axes("dim", rank)), int(call.flag("keepdim"))
    x = call.operand("self", kind)
    if order in (1, 2):
        return call.emit("ReduceL2" if order == 2 else "ReduceL1", x, axes, keepdims=keep)
    if order in (math.inf, -math.inf):
        op = "ReduceMax" if order > 0 else "ReduceMin"
        return call.emit(op, call.emit("Abs", x), axes, keepdims=keep)
    raise UntranslatedError(f"a norm of order {short(order)}")


def _along(op: str) -> Build:
    """Softmax and its logarithm."""

    def build(call: Call) -> str:
        rank = len(call.shape())
        x = call.operand("self", call.kind())
        if rank:
            return call.emit(op, x, axis=call.axis("dim", rank))
        zero = call.emit("Sub", x, x)
        return call.emit("Exp", zero) if op == "Softmax" else zero  # of one number: 1, and log 1

    return build


def _summed_up(call: Call) -> str:
    axis = call.scalar(call.axis("dim", len(call.shape())), TensorProto.INT64)
    return call.emit("CumSum", call.operand("self", call.kind()), axis)


def _first(call: Call) -> Sequence[str]:
    """topk: values and places."""
    axis = call.axis("dim", len(call.shape()), -1)
    count = call.integers(call.whole("k"))
    largest, ordered = (int(call.flag(name, default=True)) for name in ("largest", "sorted"))
    return call.several("TopK", call.tensor(), count, outputs=2, axis=axis, largest=largest, sorted=ordered)


def _ordered(call: Call) -> Sequence[str]:
    axis = call.axis("dim", len(call.shape()), -1)
    count, largest = call.integers(call.shape()[axis]), int(call.flag("descending"))
    return call.several("TopK", call.tensor(), count, outputs=2, axis=axis, largest=largest)


def _any(op: str) -> Build:
    """Whether one, or all, are true."""

    def build(call: Call) -> str:
        rank = len(call.shape())
        if call.has("dim") and not call.wholes("dim"):
            return call.operand("self", TensorProto.BOOL)  # torch reduces nothing here
        x = call.cast(call.operand("self", TensorProto.BOOL), TensorProto.BOOL, TensorProto.INT32)
        axes = call.integers(*call.axes("dim", rank))
        made = call.emit(op, x, axes, keepdims=int(call.flag("keepdim")))
        return call.cast(made, TensorProto.INT32, TensorProto.BOOL)

    return build


BUILDS: Mapping[str, Build] = {
    "mean": _reduced("ReduceMean"),
    "sum": _reduced("ReduceSum"),
    "amax": _reduced("ReduceMax"),
    "amin": _reduced("ReduceMin"),
    "logsumexp": _reduced("ReduceLogSumExp"),
    "prod": _product,
    "max": _extreme("ReduceMax"),
    "min": _extreme("ReduceMin"),
    "argmax": _placed("ArgMax"),
    "argmin": _placed("ArgMin"),
    "var": _var,
    "std": _std,
    "var_mean": _both,
    "std_mean": _both,
    "linalg_vector_norm": _norm,
    "norm": _norm,
    "softmax": _along("Softmax"),
    "_softmax": _along("Softmax"),
    "log_softmax": _along("LogSoftmax"),
    "_log_softmax": _along("LogSoftmax"),
    "cumsum": _summed_up,
    "topk": _first,
    "sort": _ordered,
    "any": _any("ReduceMax"),
    "all": _any("ReduceMin"),
}
