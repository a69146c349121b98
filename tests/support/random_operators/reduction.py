"""Pooling, reduction, normalization and recurrence."""

from __future__ import annotations

import numpy as np

from tests.support.random_graphs import Builder, Shape
from tests.support.random_operators.drawing import at_least, axis_of, divisor, image, need, window, with_axes


def pool(b: Builder) -> None:
    x = b.pick(image)
    op = b.choice(("MaxPool", "AveragePool"))
    attributes = window(b, b.shapes[x][2:], dilated=op == "MaxPool" or b.opset >= 19)
    if op == "AveragePool":
        attributes["count_include_pad"] = b.integer(0, 1)
    if "pads" in attributes and not overhangs(b.shapes[x][2:], attributes):
        attributes["ceil_mode"] = b.integer(0, 1)
    b.add(op, [x], **attributes)


def overhangs(sizes: Shape, attributes: dict[str, list[int]]) -> bool:
    """Whether with ceil_mode a window starts past the end: onnx counts it, onnxruntime and torch do not."""
    pads, kernel, strides = (attributes[name] for name in ("pads", "kernel_shape", "strides"))
    dilations = attributes.get("dilations", [1] * len(sizes))
    for i, n in enumerate(sizes):
        room = n + pads[i] + pads[i + len(sizes)] - dilations[i] * (kernel[i] - 1) - 1
        if -(-room // strides[i]) * strides[i] >= n + pads[i]:
            return True
    return False


def global_pool(b: Builder) -> None:
    b.add(b.choice(("GlobalAveragePool", "GlobalMaxPool")), [b.pick(image)])


def reduced(b: Builder, x: str, keepdims: int) -> str:
    op = b.choice(("ReduceSum", "ReduceMean", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1"))
    axes = sorted({axis_of(b, x, negative=False) for _ in range(b.integer(1, 2))})
    return with_axes(b, op, x, axes, since=13 if op == "ReduceSum" else 18, keepdims=keepdims)


def reduce(b: Builder) -> None:
    x = b.pick()
    if b.chance(0.2):
        b.add(b.choice(("ReduceLogSumExp", "ReduceMean", "ReduceSum")), [x], keepdims=b.integer(0, 1))
    else:
        reduced(b, x, keepdims=b.integer(0, 1))


def softmax(b: Builder) -> None:
    x = b.pick()
    b.add(b.choice(("Softmax", "Softmax", "LogSoftmax")), [x], axis=axis_of(b, x))


def batch_norm(b: Builder) -> None:
    x = b.pick(at_least(2))
    c = b.shapes[x][1]
    variance = b.constant(0.2 + b.rng.random(c))
    b.add("BatchNormalization", [x, b.normal(c), b.normal(c), b.normal(c), variance], epsilon=0.01)


def layer_norm(b: Builder) -> None:
    need(b.opset >= 17)
    x = b.pick(at_least(2))
    axis = axis_of(b, x)
    shape = b.shapes[x][axis:]
    inputs = [x, b.normal(*shape), b.normal(*shape)]
    b.add("LayerNormalization", inputs[: b.integer(2, 3)], axis=axis, epsilon=b.choice((0.1, 0.01)))


def instance_norm(b: Builder) -> None:
    x = b.pick(image)
    c = b.shapes[x][1]
    b.add("InstanceNormalization", [x, b.normal(c), b.normal(c)], epsilon=0.05)


def group_norm(b: Builder) -> None:
    """As exporters write it for old opsets, and the operator since 21."""
    x = b.pick(lambda shape: len(shape) == 4)
    c = b.shapes[x][1]
    groups = divisor(b, c)
    if b.opset >= 21:
        b.add("GroupNormalization", [x, b.normal(c), b.normal(c)], num_groups=groups, epsilon=0.05)
        return
    flat = b.one("Reshape", x, b.constant(np.array([0, groups, -1])))
    ones, zeros = b.constant(np.ones(groups)), b.constant(np.zeros(groups))
    z = b.one("InstanceNormalization", flat, ones, zeros, epsilon=0.05)
    back = b.one("Reshape", z, b.constant(np.array(b.shapes[x])))
    b.add("Add", [b.one("Mul", back, b.normal(c, 1, 1)), b.normal(c, 1, 1)])


def local_response(b: Builder) -> None:
    b.add(
        "LRN",
        [b.pick(lambda shape: len(shape) == 4)],
        size=b.choice((1, 3, 5)),
        alpha=0.5,
        beta=0.75,
        bias=1.0,
    )


def recurrent(b: Builder) -> None:
    x = b.pick(lambda shape: len(shape) == 3)
    c = b.shapes[x][2]
    op, gates = b.choice((("LSTM", 4), ("GRU", 3), ("RNN", 1)))
    directions, hidden = b.integer(1, 2), b.integer(1, 3)
    w = [b.normal(directions, gates * hidden, n, scale=0.4) for n in (c, hidden)]
    if b.chance():
        w.append(b.normal(directions, 2 * gates * hidden))
    way = "bidirectional" if directions == 2 else b.choice(("forward", "reverse"))
    extra = {"linear_before_reset": b.integer(0, 1)} if op == "GRU" else {}
    b.add(op, [x, *w], outputs=b.integer(1, 2), hidden_size=hidden, direction=way, **extra)
