"""Entries that move, are copied or left out."""

from __future__ import annotations

import math

import numpy as np

from tests.support.random_graphs import Builder
from tests.support.random_operators.drawing import at_least, axis_of, divisor, image, need, with_axes


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
