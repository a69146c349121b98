"""Convolutions, activations and poolings of `tangent_nets`: each appends to a network at a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from tests.support.tangent_nets import Network, Tensor, UnsuitableError, double, pads_of

CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
GELU = 1.13  # its slope is from -0.13 to 1.13
ACTIVATIONS: dict[str, tuple[float, float, dict[str, float], Callable[[Tensor], Tensor]]] = {
    "Relu": (0.0, 1.0, {}, torch.relu),
    "LeakyRelu": (0.25, 1.0, {"alpha": 0.25}, lambda x: functional.leaky_relu(x, 0.25)),
    "Sigmoid": (0.0, 0.25, {}, torch.sigmoid),
    "Tanh": (0.0, 1.0, {}, torch.tanh),
    "Gelu": (1 - GELU + 0.002, GELU - 0.002, {}, functional.gelu),
    "Abs": (-1.0, 1.0, {}, torch.abs),
    "Softplus": (0.0, 1.0, {}, functional.softplus),
    "HardSigmoid": (0.0, 0.25, {"alpha": 0.25}, lambda x: (0.25 * x + 0.5).clamp(0, 1)),
}
"""Intervals that lie within those of the slopes, attributes, and functions."""


def convolution(n: Network, x: str, *, out: int | None = None, plain: bool = False) -> str:
    """With any geometry; a plain one keeps the window, and takes 1 or 3 taps."""
    channels, window = n.channels[x], n.windows[x]
    if window is None:
        raise UnsuitableError
    groups = n.choice([g for g in (1, 1, 1, 2, 3, channels) if channels % g == 0])
    out = out or groups * n.integer(1, max(1, 4 // groups))
    if out % groups:
        groups = 1
    kernel, stride, dilation, padding = [], [], [], []
    for _ in window:
        k = n.choice((1, 3)) if plain else n.choice((1, 2, 2, 3, 3, 4))
        d = 1 if plain or k == 1 else n.choice((1, 1, 1, 2))
        kernel.append(k)
        dilation.append(d)
        stride.append(1 if plain else n.choice((1, 1, 1, 2, 3)))
        padding.append((k // 2, k // 2) if plain else (n.integer(0, k), n.integer(0, k)))
    weight = n.normal(
        out, channels // groups, *kernel, scale=1 / math.sqrt(channels // groups * math.prod(kernel))
    )
    bias = n.normal(out)

    def step(tensors, biased):
        wide = functional.pad(tensors[0], [p for pair in reversed(padding) for p in pair])
        convolve = CONVOLUTIONS[len(window) - 1]
        return [convolve(wide, double(weight), double(bias) if biased else None, stride, 0, dilation, groups)]

    attributes = {"strides": stride, "dilations": dilation, "pads": pads_of(padding), "group": groups}
    return n.add("Conv", [x], [n.constant(weight), n.constant(bias)], step, **attributes)[0]


def transposed(n: Network, x: str) -> str:
    """ConvTranspose, with cut edges and output padding."""
    channels, window = n.channels[x], n.windows[x]
    if window is None:
        raise UnsuitableError
    groups = n.choice([g for g in (1, 1, 2) if channels % g == 0])
    out = n.integer(1, 2)
    stride = [n.choice((1, 2, 2, 3)) for _ in window]
    kernel = [n.integer(1, 3) for _ in window]
    further = [n.integer(0, s - 1) for s in stride]
    padding = [(n.integer(0, k - 1), n.integer(0, k - 1)) for k in kernel]
    weight = n.normal(channels, out, *kernel, scale=1 / math.sqrt(channels))

    def step(tensors, _):
        apply = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
        whole = apply[len(window) - 1](tensors[0], double(weight), None, stride, 0, further, groups)
        for axis, (before, after) in enumerate(padding, 2):
            whole = whole.narrow(axis, before, whole.shape[axis] - before - after)
        return [whole]

    attributes = {"strides": stride, "pads": pads_of(padding), "group": groups, "output_padding": further}
    return n.add("ConvTranspose", [x], [n.constant(weight)], step, **attributes)[0]


def activation(n: Network, x: str) -> str:
    """One of many, or a PRelu with a slope per channel."""
    axes = (1,) * len(n.windows[x] or ())
    if n.chance(0.2):
        alpha = n.rng.uniform(-0.7, 1.6, (n.channels[x], *axes)).astype(np.float32)
        slope = double(alpha)
        least, most = slope.clamp_max(1.0), slope.clamp_min(1.0)
        return n.activated(
            "PRelu", x, least, most, lambda v: torch.where(v > 0, v, slope * v), (n.constant(alpha),)
        )
    if n.chance(0.1):
        ends = (n.constant(np.array(-0.5)), n.constant(np.array(0.8)))
        zero, one = torch.zeros(1, *axes).double(), torch.ones(1, *axes).double()
        return n.activated("Clip", x, zero, one, lambda v: v.clamp(-0.5, 0.8), ends)
    op = n.choice(("Relu", "Relu", "Relu", *ACTIVATIONS))
    lower, upper, attributes, function = ACTIVATIONS[op]
    ends = (torch.full((1, *axes), end, dtype=torch.float64) for end in (lower, upper))
    return n.activated(op, x, *ends, function, **attributes)


def normalised(n: Network, x: str) -> str:
    """BatchNormalization."""
    count = n.channels[x]
    gamma, beta, mean = n.normal(count), n.normal(count), n.normal(count)
    variance = n.rng.uniform(0.3, 2, count).astype(np.float32)

    def step(tensors, biased):
        axes = (1,) * (tensors[0].ndim - 2)
        factor, shift = double(gamma) / (double(variance) + float(np.float32(1e-5))).sqrt(), double(mean)
        factor, shift, offset = (v.reshape(-1, *axes) for v in (factor, shift, double(beta)))
        return [(tensors[0] - shift) * factor + offset if biased else tensors[0] * factor]

    return n.add("BatchNormalization", [x], [n.constant(v) for v in (gamma, beta, mean, variance)], step)[0]


def scaled(n: Network, x: str) -> str:
    """Mul or Div by a constant: a number, one per channel, or one per entry."""
    shape = n.choice([(), n.shape(x), (n.channels[x], *(1,) * (len(n.shape(x)) - 1))])
    values = n.rng.uniform(0.5, 1.5, shape).astype(np.float32) * n.rng.choice((-1, 1), shape).astype(
        np.float32
    )
    op = n.choice(("Mul", "Div"))

    def step(tensors, _):
        return [tensors[0] * double(values) if op == "Mul" else tensors[0] / double(values)]

    return n.add(op, [x], [n.constant(values)], step)[0]


def averaged(n: Network, x: str) -> str:
    """AveragePool, with padding that counts, does not count, or is none."""
    if n.windows[x] is None:
        raise UnsuitableError
    kernel = [n.integer(1, 3) for _ in n.windows[x]]
    stride = [n.integer(1, 3) for _ in kernel]
    padding = [(n.integer(0, k // 2), n.integer(0, k // 2)) if n.chance(0.3) else (0, 0) for k in kernel]
    counted = n.chance()

    def sums(x: Tensor) -> Tensor:
        wide = functional.pad(x, [p for pair in reversed(padding) for p in pair])
        for axis, (k, s) in enumerate(zip(kernel, stride, strict=True), 2):
            wide = wide.unfold(axis, k, s)
        return wide.flatten(x.ndim).sum(-1)

    def step(tensors, _):
        count = math.prod(kernel) if counted else sums(torch.ones_like(tensors[0]))
        return [sums(tensors[0]) / count]

    attributes = {
        "kernel_shape": kernel,
        "strides": stride,
        "pads": pads_of(padding),
        "count_include_pad": int(counted),
    }
    return n.add("AveragePool", [x], [], step, **attributes)[0]


def largest(n: Network, x: str) -> str:
    """MaxPool."""
    if n.windows[x] is None:
        raise UnsuitableError
    kernel = [n.integer(1, 3) for _ in n.windows[x]]
    stride = [n.integer(1, 3) for _ in kernel]
    padding = [(n.integer(0, k // 2), n.integer(0, k // 2)) if n.chance(0.3) else (0, 0) for k in kernel]
    return n.pooled(x, kernel, stride, padding)


def mean_of_all(n: Network, x: str) -> str:
    """GlobalAveragePool, ReduceMean or ReduceSum."""
    if n.windows[x] is None:
        raise UnsuitableError
    op = n.choice(("GlobalAveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum"))
    axes = tuple(range(2, 2 + len(n.windows[x])))
    if op == "GlobalAveragePool":
        return n.add(op, [x], [], lambda tensors, _: [tensors[0].mean(axes, keepdim=True)])[0]
    keep = n.chance()

    def step(tensors, _):
        return [(tensors[0].sum if op == "ReduceSum" else tensors[0].mean)(axes, keepdim=keep)]

    return n.add(op, [x], [n.constant(np.array(axes))], step, keepdims=int(keep))[0]


def largest_of_all(n: Network, x: str) -> str:
    """GlobalMaxPool, as a choice."""
    if n.windows[x] is None:
        raise UnsuitableError
    name, axes = f"t{len(n.windows)}", len(n.windows[x])
    n.add(
        "GlobalMaxPool",
        [x],
        [],
        lambda tensors, _: [tensors[0].amax(tuple(range(2, 2 + axes)), keepdim=True)],
    )
    n.choices[name] = math.prod(n.windows[x])
    n.steps[-1] = ((x,), (name,), lambda v, _=0.0: v.flatten(2).reshape(len(v), v.shape[1], *(1,) * axes, -1))
    return name


def matrix(n: Network, x: str) -> str:
    """Flatten where there are positions, and Gemm."""
    if n.windows[x] is not None:
        x = n.add("Flatten", [x], [], lambda tensors, _: [tensors[0].flatten(1)])[0]
    weight, bias = n.normal(n.integer(1, 6), n.channels[x], scale=1 / math.sqrt(n.channels[x])), n.normal(1)

    def step(tensors, biased):
        return [tensors[0] @ double(weight).mT + (double(bias) if biased else 0)]

    return n.add("Gemm", [x], [n.constant(weight), n.constant(bias)], step, transB=1)[0]
