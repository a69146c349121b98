"""What operators of several families draw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.random_graphs import Builder, Shape, UnsuitableError


def need(condition: bool) -> None:
    if not condition:
        raise UnsuitableError


def image(shape: Shape) -> bool:
    return len(shape) in (3, 4)


def at_least(rank: int) -> Callable[[Shape], bool]:
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
