"""Normalization, by running and by own statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from convsv_cli.loaders.pt2.translation.writer import Build, Call, UntranslatedError


def _filled(call: Call, name: str, count: int, value: float) -> str:
    """A stored vector; one of equal numbers where it is left out."""
    if call.has(name):
        return call.tensor(name)
    call.writer.room(count)
    return call.writer.constant(np.full(count, value), call.kind("input"), name)


def _batch(call: Call) -> str:
    """By running statistics, one channel at a time."""
    if call.flag("training") or "training" in call.node.target.replace("no_training", ""):
        raise UntranslatedError("BatchNorm in training, which normalizes by the batch")
    count = call.shape("input")[1]
    return call.emit(
        "BatchNormalization",
        call.tensor("input"),
        _filled(call, "weight", count, 1.0),
        _filled(call, "bias", count, 0.0),
        call.tensor("running_mean"),
        call.tensor("running_var"),
        epsilon=call.number("eps", 1e-5),
    )


def _core_batch(call: Call) -> list[str]:
    return [_batch(call), "", ""]


def _layer(call: Call) -> str:
    inner = call.wholes("normalized_shape")
    weight = call.optional("weight")
    if not weight:
        call.writer.room(*inner)
        weight = call.writer.constant(np.ones(inner), call.kind("input"), "weight")
    return call.emit(
        "LayerNormalization",
        call.tensor("input"),
        weight,
        *([call.tensor("bias")] if call.has("bias") else []),
        axis=-len(inner),
        epsilon=call.number("eps", 1e-5),
    )


def _core_layer(call: Call) -> list[str]:
    return [_layer(call), "", ""]


def _root_mean_square(call: Call) -> str:
    kind, inner = call.kind("input"), call.wholes("normalized_shape")
    own = np.float64 if kind == TensorProto.DOUBLE else np.float32
    x, eps = call.tensor("input"), call.number("eps", float(np.finfo(own).eps))
    squares = call.emit("Pow", x, call.scalar(2.0, kind))
    mean = call.emit("ReduceMean", squares, call.integers(*range(-len(inner), 0)), keepdims=1)
    root = call.emit("Sqrt", call.emit("Add", mean, call.scalar(eps, kind)))
    made = call.emit("Div", x, root)
    return call.emit("Mul", made, call.tensor("weight")) if call.has("weight") else made


def _group(call: Call) -> str:
    """InstanceNormalization of groups, then weight and bias of channels."""
    shape, kind = call.shape("input"), call.kind("input")
    call.writer.room(shape[1])
    groups = call.whole("num_groups", None) if call.has("num_groups") else call.whole("group")
    data = call.reshaped(call.tensor("input"), (shape[0], groups, math.prod(shape[1:]) // max(groups, 1)))
    one, zero = (
        call.writer.constant(np.full(groups, value), kind, name)
        for value, name in ((1.0, "one"), (0.0, "zero"))
    )
    made = call.emit("InstanceNormalization", data, one, zero, epsilon=call.number("eps", 1e-5))
    made = call.reshaped(made, shape)
    for name, op in (("weight", "Mul"), ("bias", "Add")):
        if call.has(name):
            along = call.reshaped(call.tensor(name), (shape[1], *(1 for _ in shape[2:])))
            made = call.emit(op, made, along)
    return made


def _core_group(call: Call) -> list[str]:
    return [_group(call), "", ""]


def _instance(call: Call) -> str:
    if not call.flag("use_input_stats", default=True):
        return _batch(call)
    count = call.shape("input")[1]
    return call.emit(
        "InstanceNormalization",
        call.tensor("input"),
        _filled(call, "weight", count, 1.0),
        _filled(call, "bias", count, 0.0),
        epsilon=call.number("eps", 1e-5),
    )


def _own(call: Call) -> list[str]:
    """By statistics of the batch, which is one sample: torch takes InstanceNorm apart so."""
    if not call.flag("training"):
        raise UntranslatedError("BatchNorm that may be by running statistics")
    if call.shape("input")[0] != 1:
        raise UntranslatedError("BatchNorm by the statistics of a batch")
    return [_instance(call), "", ""]


def _by_length(call: Call) -> str:
    """Weight_norm: g v / |v|, the length along all axes but one, or along all where that is -1."""
    rank, axis = len(call.shape("v")), call.whole("dim", 0)
    others = call.integers(*(each for each in range(rank) if each != axis))
    length = call.emit("ReduceL2", call.tensor("v"), others, keepdims=1)
    return call.emit("Mul", call.tensor("v"), call.emit("Div", call.tensor("g"), length))


BUILDS: Mapping[str, Build] = {
    "batch_norm": _batch,
    "_native_batch_norm_legit_no_training": _core_batch,
    "_native_batch_norm_legit": _own,
    "_weight_norm": _by_length,
    "layer_norm": _layer,
    "native_layer_norm": _core_layer,
    "rms_norm": _root_mean_square,
    "group_norm": _group,
    "native_group_norm": _core_group,
    "instance_norm": _instance,
}
