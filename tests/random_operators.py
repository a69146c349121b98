"""Operators for random graphs, in all their modes; by family."""

from __future__ import annotations

import math

import numpy as np
from onnx import GraphProto, ValueInfoProto, helper

from tests.random_graphs import Builder, Operator, Shape, UnsuitableError


def need(condition: bool) -> None:
    if not condition:
        raise UnsuitableError


def image(shape: Shape) -> bool:
    return len(shape) in (3, 4)


def at_least(rank: int):
    return lambda shape: len(shape) >= rank


def axis_of(b: Builder, x: str, negative: bool = True) -> int:
    rank = len(b.shapes[x])
    need(rank > 0)
    return b.integer(-rank if negative else 0, rank - 1)


def with_axes(b: Builder, op: str, x: str, axes: list[int], since: int, **attributes: object) -> str:
    """Axes are an attribute first, and an input since an opset."""
    if b.opset >= since:
        return b.one(op, x, b.constant(np.array(axes)), **attributes)
    return b.one(op, x, axes=axes, **attributes)


def window(b: Builder, sizes: Shape, dilated: bool = True) -> dict[str, object]:
    """Attributes of a window that slides over axes of these sizes."""
    axes = len(sizes)
    kernel = [b.integer(1, min(3, n)) for n in sizes]
    result: dict[str, object] = {"kernel_shape": kernel, "strides": [b.integer(1, 3) for _ in range(axes)]}
    if b.chance(0.2):
        result["strides"] = [
            b.integer(1, k) for k in kernel
        ]  # onnxruntime refuses SAME where windows leave gaps
        return {**result, "auto_pad": b.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))}
    dilations = [b.integer(1, 2) if dilated else 1 for _ in range(axes)]
    need(all(d * (k - 1) < n for d, k, n in zip(dilations, kernel, sizes, strict=True)))
    if dilated:
        result["dilations"] = dilations
    return {**result, "pads": [b.integer(0, k - 1) for k in kernel * 2]}


def divisor(b: Builder, number: int) -> int:
    return b.choice([d for d in range(1, number + 1) if number % d == 0])


# Linear maps


def conv(b: Builder) -> None:
    x = b.pick(image)
    c_in = b.shapes[x][1]
    attributes, groups = window(b, b.shapes[x][2:]), divisor(b, c_in)
    c_out = groups * b.integer(1, 3)
    kernel = (c_out, c_in // groups, *attributes["kernel_shape"])
    inputs = [x, b.normal(*kernel, scale=1 / math.sqrt(np.prod(kernel[1:])))]
    b.add("Conv", [*inputs, b.normal(c_out)] if b.chance() else inputs, group=groups, **attributes)


def conv_transpose(b: Builder) -> None:
    x = b.pick(image)
    c_in = b.shapes[x][1]
    attributes, groups = window(b, b.shapes[x][2:]), divisor(b, c_in)
    if b.chance(0.3) and "pads" in attributes:
        attributes["output_padding"] = [b.integer(0, stride - 1) for stride in attributes["strides"]]
    kernel = (c_in, b.integer(1, 2), *attributes["kernel_shape"])
    scale = 1 / math.sqrt(np.prod(kernel[1:]))
    b.add("ConvTranspose", [x, b.normal(*kernel, scale=scale)], group=groups, **attributes)


def gemm(b: Builder) -> None:
    x = b.pick(lambda shape: len(shape) == 2)
    turned, flipped, new = b.chance(), b.chance(), b.integer(1, 6)
    inner = b.shapes[x][0 if turned else 1]
    attributes = {"alpha": b.choice((1.0, 0.5, -2.0)), "beta": b.choice((1.0, 0.0, 3.0))}
    if b.chance(0.3):  # the constant first
        inner = b.shapes[x][1 if turned else 0]
        w = b.normal(*((inner, new) if flipped else (new, inner)), scale=inner**-0.5)
        b.add("Gemm", [w, x], transA=int(flipped), transB=int(turned), **attributes)
        return
    w = b.normal(*((new, inner) if flipped else (inner, new)), scale=inner**-0.5)
    inputs = [x, w, b.normal(new)] if b.chance() else [x, w]
    b.add("Gemm", inputs, transA=int(turned), transB=int(flipped), **attributes)


def matmul(b: Builder) -> None:
    x = b.pick(at_least(2))
    shape, new = b.shapes[x], b.integer(1, 5)
    batch = shape[:-2] if b.chance(0.2) else ((2, *shape[:-2]) if b.chance(0.1) else ())
    if b.chance():
        b.add("MatMul", [x, b.normal(*batch, shape[-1], new, scale=shape[-1] ** -0.5)])
    else:
        b.add("MatMul", [b.normal(*batch, new, shape[-2], scale=shape[-2] ** -0.5), x])


def vector_product(b: Builder) -> None:
    x = b.pick(at_least(1))
    b.add("MatMul", [x, b.normal(b.shapes[x][-1])] if b.chance() else [b.normal(b.shapes[x][-2:][0]), x])


def einsum(b: Builder) -> None:
    need(b.opset >= 12)
    x = b.pick(lambda shape: len(shape) == 3)
    _, i, j = b.shapes[x]
    equation, w = b.choice((("bij,jk->bik", (j, 3)), ("bij,ik->bkj", (i, 2)), ("bij,kj->kbi", (2, j))))
    b.add("Einsum", [x, b.normal(*w, scale=0.5)], equation=equation)


# Element-wise


def activation(b: Builder) -> None:
    x = b.pick()
    op, since, attributes = b.choice(ACTIVATIONS)
    need(b.opset >= since)
    drawn = {
        name: values if isinstance(values, str) else b.choice(values) for name, values in attributes.items()
    }
    b.add(op, [x], **drawn)


ACTIVATIONS = [
    *((op, 1, {}) for op in ("Relu", "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Abs", "Neg", "Sin")),
    *((op, 1, {}) for op in ("Cos", "Atan", "Erf", "Identity", "Dropout", "Asinh", "Selu")),
    *[("LeakyRelu", 1, {"alpha": (0.01, 2.0, -3.0)})] * 2,
    *[("Elu", 1, {"alpha": (0.5, 1.0, 3.0)})] * 2,
    *[("Celu", 12, {"alpha": (0.5, 2.0)})] * 2,
    *[("HardSigmoid", 1, {"alpha": (0.2, 2.0), "beta": (0.5, 0.0)})] * 2,
    *[("HardSwish", 14, {})] * 3,
    *[("Mish", 18, {})] * 4,
    *[("Gelu", 20, {"approximate": ("none", "tanh")})] * 4,
]


def clip(b: Builder) -> None:
    ends = [b.constant(np.array(end, float)) for end in (-0.5, 1.5)]
    b.add("Clip", [b.pick(), *b.choice((ends, ends[:1], ["", ends[1]], []))])


def prelu(b: Builder) -> None:
    x = b.pick(at_least(2))
    shape = b.shapes[x]
    slope = b.choice(((shape[1], *(1 for _ in shape[2:])), (1,), shape))
    b.add("PRelu", [x, b.normal(*slope)])


def silu(b: Builder) -> None:
    x = b.pick()
    b.add("Mul", [x, b.part("Sigmoid", x)])


def gelu(b: Builder) -> None:
    x = b.pick()
    one, half, root = (b.constant(np.array(v)) for v in (1.0, 0.5, math.sqrt(2)))
    z = b.part("Add", b.part("Erf", b.part("Div", x, root)), one)
    b.add("Mul", [b.part("Mul", x, z), half])


def mish(b: Builder) -> None:
    x = b.pick()
    b.add("Mul", [x, b.part("Tanh", b.part("Softplus", x))])


def hard_swish(b: Builder) -> None:
    x = b.pick()
    b.add("Mul", [b.part("HardSigmoid", x, alpha=1 / 6, beta=0.5), x])


def with_constant(b: Builder) -> None:
    """Either may be broadcast to the other."""
    x = b.pick()
    shape = [size if b.chance() else 1 for size in b.shapes[x]]
    shape = [b.integer(1, 3) if b.shapes[x][i] == 1 and b.chance(0.3) else n for i, n in enumerate(shape)]
    shape = [2, *shape] if b.chance(0.1) else shape[b.integer(0, len(shape)) :]
    op = b.choice(("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"))
    c = b.constant(1 + np.abs(b.rng.standard_normal(shape))) if op == "Div" else b.normal(*shape)
    b.add(op, [x, c] if op == "Div" or b.chance() else [c, x])


def mask(b: Builder) -> None:
    """Where by a constant condition."""
    x = b.pick()
    condition = b.constant(b.rng.random(b.shapes[x]) < 0.5)
    other = b.choice([name for name in b.real if b.shapes[name] == b.shapes[x]])
    b.add("Where", [condition, x, other if b.chance() else b.normal(1)])


# Where branches meet


def partner(b: Builder, x: str) -> str:
    """Another tensor of the same shape, or one that is broadcast to it."""
    same = [name for name in b.real if b.shapes[name] == b.shapes[x]]
    if b.chance(0.2):
        return reduced(b, x, keepdims=1)
    return b.choice(same) if b.chance(0.2) or len(same) == 1 else b.choice([n for n in same if n != x])


def meeting(b: Builder) -> None:
    x = b.pick()
    op = b.choice(("Add", "Add", "Sub", "Max", "Min", "Sum", "Mean"))
    others = [partner(b, x) for _ in range(2 if op in ("Sum", "Mean", "Max") and b.chance(0.3) else 1)]
    inputs = [x, *others]
    b.add(op, [inputs[i] for i in b.rng.permutation(len(inputs))])


def concat(b: Builder) -> None:
    x = b.pick()
    axis = axis_of(b, x)
    rest = [n for i, n in enumerate(b.shapes[x]) if i != axis % len(b.shapes[x])]

    def fits(name: str) -> bool:
        shape = b.shapes[name]
        return len(shape) == len(rest) + 1 and [*np.delete(shape, axis % len(shape))] == rest

    others = [b.choice([name for name in b.real if fits(name)]) for _ in range(b.integer(1, 2))]
    if b.chance(0.2):
        others.append(b.normal(*b.shapes[x]))
    b.add("Concat", [x, *others], axis=axis)


def branch(b: Builder) -> None:
    """If by a constant condition, which is stored or computed."""
    x, y = b.pick(), b.pick()
    if b.shapes[x] != b.shapes[y]:
        y = x
    bodies = [
        _body(b, b.choice(("Neg", "Relu", "Sigmoid")), x),
        _body(b, b.choice(("Identity", "Tanh")), b.choice((x, y))),
    ]
    condition = b.constant(np.array(b.chance()))
    if b.chance():
        condition = b.one("Not", condition)
    b.add("If", [condition], then_branch=bodies[0], else_branch=bodies[1])


def _body(b: Builder, op: str, x: str) -> GraphProto:
    name = f"{op}{len(b.nodes)}"
    return helper.make_graph([helper.make_node(op, [x], [name])], op, [], [ValueInfoProto(name=name)])


# Movement


def transpose(b: Builder) -> None:
    x = b.pick(at_least(2))
    b.add("Transpose", [x], perm=[int(i) for i in b.rng.permutation(len(b.shapes[x]))])


def reshape(b: Builder) -> None:
    x = b.pick()
    size, shape = math.prod(b.shapes[x]), []
    for _ in range(b.integer(0, 3)):
        shape.append(divisor(b, size // math.prod(shape)))
    last = size // math.prod(shape)
    b.add("Reshape", [x, b.constant(np.array([*shape, -1 if b.chance() else last]))])


def reshape_by_shape(b: Builder) -> None:
    """The new shape is computed from the old one, as exporters do."""
    x = b.pick(at_least(2))
    first = b.one("Gather", b.one("Shape", x), b.constant(np.array([0])), axis=0)
    b.add("Reshape", [x, b.one("Concat", first, b.constant(np.array([-1])), axis=0)])


def flatten(b: Builder) -> None:
    x = b.pick()
    b.add("Flatten", [x], axis=b.integer(0, len(b.shapes[x])))


def squeeze(b: Builder) -> None:
    x = b.pick(lambda shape: 1 in shape and len(shape) > 1)
    axes = [i for i, n in enumerate(b.shapes[x]) if n == 1]
    with_axes(b, "Squeeze", x, [b.choice(axes)], since=13)


def unsqueeze(b: Builder) -> None:
    x = b.pick(lambda shape: len(shape) < 4)
    with_axes(b, "Unsqueeze", x, [b.integer(0, len(b.shapes[x]))], since=13)


def slice_(b: Builder) -> None:
    x = b.pick()
    axis = axis_of(b, x)
    size = b.shapes[x][axis]
    start, end, step = b.integer(0, size - 1), b.integer(1, size + 2), b.choice((1, 1, 2, 3))
    if b.chance(0.3):
        start, end, step = -1, -size - 1, -b.integer(1, 2)
    b.add("Slice", [x, *(b.constant(np.array([v])) for v in (start, end, axis, step))])


def split(b: Builder) -> None:
    x = b.pick(lambda shape: max(shape, default=0) > 1)
    axis = b.choice([i for i, n in enumerate(b.shapes[x]) if n > 1])
    size = b.shapes[x][axis]
    first = b.integer(1, size - 1)
    if b.opset >= 18 and b.chance():
        b.add("Split", [x], outputs=2, axis=axis, num_outputs=2)
    elif b.opset >= 13:
        b.add("Split", [x, b.constant(np.array([first, size - first]))], outputs=2, axis=axis)
    else:
        b.add("Split", [x], outputs=2, axis=axis, split=[first, size - first])


def gather(b: Builder) -> None:
    x = b.pick()
    axis = axis_of(b, x)
    size = b.shapes[x][axis]
    shape = b.choice(((), (2,), (4,), (2, 2)))
    b.add("Gather", [x, b.constant(b.rng.integers(-size, size, shape))], axis=axis)


def gather_elements(b: Builder) -> None:
    x = b.pick()
    axis = axis_of(b, x)
    indices = b.rng.integers(0, b.shapes[x][axis], b.shapes[x])
    b.add("GatherElements", [x, b.constant(indices)], axis=axis)


def expand(b: Builder) -> None:
    x = b.pick()
    shape = [b.integer(1, 3) if n == 1 else n for n in b.shapes[x]]
    b.add("Expand", [x, b.constant(np.array([2, *shape] if b.chance(0.3) else shape))])


def tile(b: Builder) -> None:
    x = b.pick()
    b.add("Tile", [x, b.constant(np.array([b.choice((1, 1, 2)) for _ in b.shapes[x]]))])


def pad(b: Builder) -> None:
    x = b.pick(at_least(2))
    mode = b.choice(("constant", "reflect", "edge", *(["wrap"] if b.opset >= 19 else [])))
    low = -1 if mode == "constant" else 0
    pads = [
        b.integer(low, min(2, n - 1)) if i > 0 or mode == "constant" else 0 for i, n in enumerate(b.shapes[x])
    ]
    ends = [b.integer(0, min(2, n - 1)) if i > 0 else 0 for i, n in enumerate(b.shapes[x])]
    inputs = [x, b.constant(np.array([*pads, *ends]))]
    if mode == "constant" and b.chance():
        inputs.append(b.constant(np.array(1.5)))
    b.add("Pad", inputs, mode=mode)


def depth_to_space(b: Builder) -> None:
    x = b.pick(lambda shape: len(shape) == 4 and shape[1] % 4 == 0)
    b.add("DepthToSpace", [x], blocksize=2, mode=b.choice(("DCR", "CRD")))


def space_to_depth(b: Builder) -> None:
    x = b.pick(lambda shape: len(shape) == 4 and shape[2] % 2 == shape[3] % 2 == 0)
    b.add("SpaceToDepth", [x], blocksize=2)


def trilu(b: Builder) -> None:
    need(b.opset >= 14)
    b.add("Trilu", [b.pick(at_least(2))], upper=b.integer(0, 1))


def cumsum(b: Builder) -> None:
    x = b.pick()
    axis = b.constant(np.array(axis_of(b, x)))
    b.add("CumSum", [x, axis], exclusive=b.integer(0, 1), reverse=b.integer(0, 1))


def top_k(b: Builder) -> None:
    x = b.pick()
    axis = axis_of(b, x)
    k = b.constant(np.array([b.integer(1, b.shapes[x][axis])]))
    b.add("TopK", [x, k], outputs=2, axis=axis, largest=b.integer(0, 1))


def resize(b: Builder) -> None:
    x = b.pick(image)
    axes = len(b.shapes[x]) - 2
    mode = b.choice(("nearest", "linear", *(["cubic"] if axes == 2 else [])))
    where = b.choice(("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"))
    attributes = {"mode": mode, "coordinate_transformation_mode": where}
    if mode == "nearest":
        attributes["nearest_mode"] = b.choice(("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"))
    roi, scales = b.constant(np.zeros(0)), b.constant(np.zeros(0))
    if b.chance():
        values = np.array([1.0, 1.0, *(b.choice((2.0, 1.5, 3.0, 0.6)) for _ in range(axes))])
        b.add("Resize", [x, roi, b.constant(values)], **attributes)
    else:
        sizes = [*b.shapes[x][:2], *(b.integer(1, 7) for _ in range(axes))]
        b.add("Resize", [x, roi, scales, b.constant(np.array(sizes))], **attributes)


# Pooling, reduction and normalization


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


TAME: tuple[tuple[Operator, ...], ...] = (
    (conv, conv, conv_transpose),
    (gemm, matmul, vector_product, einsum),
    (activation,),
    (clip, prelu, silu, gelu, mish, hard_swish),
    (with_constant, with_constant, mask),
    (meeting, meeting, concat, branch),
    (transpose, reshape, reshape_by_shape, flatten, squeeze, unsqueeze),
    (
        slice_,
        split,
        gather,
        gather_elements,
        expand,
        tile,
        pad,
        depth_to_space,
        space_to_depth,
        trilu,
        cumsum,
        top_k,
        resize,
    ),
    (pool, pool, global_pool, reduce, reduce),
    (softmax, batch_norm, batch_norm, layer_norm, instance_norm, group_norm, local_response),
    (recurrent,),
)
"""Operators with a Lipschitz constant, whatever comes before."""


# Without a Lipschitz constant, at least not at every input


def product(b: Builder) -> None:
    x = b.pick()
    y = partner(b, x)
    b.add("Mul", [x, y])


def quotient(b: Builder) -> None:
    x = b.pick()
    b.add("Div", [x, b.one("Add", b.one("Sigmoid", partner(b, x)), b.constant(np.array(1.0)))])


def attention(b: Builder) -> None:
    x = b.pick(at_least(2))
    perm = list(range(len(b.shapes[x])))
    perm[-2:] = perm[:-3:-1]
    scores = b.one("MatMul", x, b.one("Transpose", x, perm=perm))
    b.add("MatMul", [b.one("Softmax", scores, axis=-1), x])


def steep(b: Builder) -> None:
    op = b.choice(("Exp", "Sign", "Floor", "Round", "Ceil", "Sinh", "Cosh"))
    b.add(op, [b.pick()])


def power(b: Builder) -> None:
    b.add("Pow", [b.pick(), b.constant(np.array(b.choice((2.0, 3.0))))])


def products_of_entries(b: Builder) -> None:
    x = b.pick()
    b.add(b.choice(("ReduceProd", "ReduceSumSquare")), [x], keepdims=1)


def jump(b: Builder) -> None:
    x = b.pick()
    b.add("Where", [b.one("Greater", x, b.constant(np.array(0.0))), x, b.one("Neg", partner(b, x))])


def gather_by_the_largest(b: Builder) -> None:
    x = b.pick()
    index = b.one("ArgMax", x, axis=0, keepdims=1)
    b.add("GatherElements", [x, index], axis=0)


WILD: tuple[tuple[Operator, ...], ...] = (
    (product, product, quotient, attention),
    (steep, power, products_of_entries, jump, gather_by_the_largest),
)
