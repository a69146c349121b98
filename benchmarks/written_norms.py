"""Normalisations, spelled as exporters, optimisers and people spell them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from benchmarks.written_terms import Spelling, Term

N, EPS = 6, 1e-5
GAMMA, BETA = np.linspace(0.5, 1.2, N), np.linspace(-0.3, 0.4, N)
IMAGE_GAMMA, IMAGE_BETA = (each[:4].reshape(4, 1, 1) for each in (GAMMA, BETA))
AXES, PLACES = -1, (2, 3)


def shifted(x: Term) -> Term:
    """By the mean of the last axis."""
    return x - x.mean()


def variance(d: Term) -> Term:
    """Of what is shifted."""
    return (d**2.0).mean()


def affine(x: Term) -> Term:
    """Of the last axis."""
    return x * GAMMA + BETA


def keras(x: Term, mean: Term, var: Term) -> Term:
    """The affine map x * inv + (beta - mean * inv), as tf.nn.batch_normalization has it."""
    inv = (var + EPS)("Sqrt")("Reciprocal") * GAMMA
    return x * inv + (x.constant(BETA) - mean * inv)


def flat(y: Term, *, expand: bool = False) -> Term:
    """A statistic without its last axis, and the axis back."""
    y = y.reshaped(1, 3, 1)
    return y("Expand", np.array([1, 3, N], np.int64)) if expand else y


def by(build: Callable[[Term, Term], Term], var: Callable[[Term], Term] = variance) -> Spelling:
    """LayerNorm, from what is shifted and its variance."""

    def spelling(x: Term) -> Term:
        d = shifted(x)
        return affine(build(d, var(d)))

    return spelling


def over_root(d: Term, v: Term) -> Term:
    """The usual end."""
    return d / (v + EPS)("Sqrt")


def double(x: Term) -> Term:
    """In double precision."""
    return x.cast(TensorProto.DOUBLE)


def layer_norm_cast(x: Term) -> Term:
    """All but the affine map in double precision."""
    d = shifted(double(x))
    return affine((d / ((d * d).mean() + double(x.constant(EPS)))("Sqrt")).cast())


def normal(d: Term, squares: Callable[[Term], Term] = variance) -> Term:
    """What is shifted, by the root of its variance."""
    return over_root(d, squares(d))


LAYER_NORM: Mapping[str, Spelling] = {
    "torch": by(over_root),
    "mul": by(over_root, lambda d: (d * d).mean()),
    "reciprocal": by(lambda d, v: d * (v + EPS)("Sqrt")("Reciprocal")),
    "one-over": by(lambda d, v: d * (1 / (v + EPS)("Sqrt"))),
    "pow-minus-half": by(lambda d, v: d * (v + EPS) ** -0.5),
    "pow-half": by(lambda d, v: d / (v + EPS) ** 0.5),
    "inverse-root": by(lambda d, v: d * (v + EPS)("Reciprocal")("Sqrt")),
    "eps-first": by(lambda d, v: d / (EPS + v)("Sqrt")),
    "sum-op": by(lambda d, v: d / v("Sum", EPS)("Sqrt")),
    "sum-over-n": by(over_root, lambda d: (d * d).sum() / float(N)),
    "sum-times": by(over_root, lambda d: (d * d).sum() * (1 / N)),
    "sum-square": by(over_root, lambda d: d.reduced("SumSquare", AXES) / float(N)),
    "l2": by(over_root, lambda d: d.reduced("L2", AXES) ** 2.0 / float(N)),
    "keepdims-unsqueeze": by(over_root, lambda d: (d * d).mean(keepdims=False).unsqueezed(-1)),
    "keepdims-reshape": by(over_root, lambda d: flat((d * d).mean(keepdims=False))),
    "keepdims-expand": by(over_root, lambda d: flat((d * d).mean(keepdims=False), expand=True)),
    "flat-mean": lambda x: affine(normal(x - flat(x.mean(keepdims=False)))),
    "axis-2": lambda x: affine(normal(x - x.mean(2), lambda d: (d * d).mean(2))),
    "shifted-twice": lambda x: affine(over_root(shifted(x), variance(shifted(x)))),
    "add-neg": lambda x: affine(normal(x + -x.mean())),
    "cast": layer_norm_cast,
    "identity": by(lambda d, v: over_root(d("Identity"), v("Identity"))),
    "moments": lambda x: keras(x, x.mean(), variance(x - x.mean()("Identity"))),
    "keras": lambda x: keras(x, x.mean(), variance(shifted(x))),
    "mean-of-squares": lambda x: affine(over_root(shifted(x), (x * x).mean() - x.mean() ** 2.0)),
    "mean-of-squares-mul": lambda x: affine(over_root(shifted(x), (x**2.0).mean() - x.mean() * x.mean())),
    "gamma-first": lambda x: shifted(x) * GAMMA / (variance(shifted(x)) + EPS)("Sqrt") + BETA,
    "gamma-over": lambda x: (x.constant(GAMMA) / (variance(shifted(x)) + EPS)("Sqrt")) * shifted(x) + BETA,
    "op": lambda x: x("LayerNormalization", GAMMA, BETA, axis=-1, epsilon=EPS),
}
LAYER_NORM_STD: Mapping[str, Spelling] = {
    "sqrt": by(lambda d, v: d / (v("Sqrt") + EPS)),
    "sum-over-n": by(lambda d, v: d / (v("Sqrt") + EPS), lambda d: (d * d).sum() / float(N)),
    "l2": by(lambda d, v: d / (v + EPS), lambda d: d.reduced("L2", AXES) / math.sqrt(N)),
}


def rms_cast(x: Term) -> Term:
    """In double precision."""
    wide = double(x)
    return (wide * ((wide * wide).mean() + double(x.constant(EPS)))("Sqrt")("Reciprocal")).cast()


RMS_NORM: Mapping[str, Spelling] = {
    "torch": lambda x: x * ((x**2.0).mean() + EPS)("Sqrt")("Reciprocal") * GAMMA,
    "gamma-left": lambda x: x.constant(GAMMA) * (x * (1 / ((x**2.0).mean() + EPS)("Sqrt"))),
    "div": lambda x: x / ((x**2.0).mean() + EPS)("Sqrt") * GAMMA,
    "mul": lambda x: x / ((x * x).mean() + EPS)("Sqrt") * GAMMA,
    "pow-minus-half": lambda x: x * ((x * x).mean() + EPS) ** -0.5 * GAMMA,
    "inverse-root": lambda x: x * ((x * x).mean() + EPS)("Reciprocal")("Sqrt") * GAMMA,
    "sum-square": lambda x: x / (x.reduced("SumSquare", AXES) / float(N) + EPS)("Sqrt") * GAMMA,
    "sum": lambda x: x / ((x * x).sum() * (1 / N) + EPS)("Sqrt") * GAMMA,
    "l2": lambda x: x / (x.reduced("L2", AXES) ** 2.0 / float(N) + EPS)("Sqrt") * GAMMA,
    "keepdims": lambda x: x / ((x * x).mean(keepdims=False).unsqueezed(-1) + EPS)("Sqrt") * GAMMA,
    "cast": lambda x: rms_cast(x) * GAMMA,
    "gamma-inside": lambda x: x * (x.constant(GAMMA) / ((x * x).mean() + EPS)("Sqrt")),
    "op": lambda x: x("RMSNormalization", GAMMA, axis=-1, epsilon=EPS),
}


L2_CLAMPED: Mapping[str, Spelling] = {
    "torch": lambda x: x / x.reduced("L2", AXES).clipped(1e-3)("Expand", np.array([1, 3, N], np.int64)),
    "script": lambda x: x / x.reduced("L2", AXES).clipped(1e-3),
    "max": lambda x: x / x.reduced("L2", AXES)("Max", 1e-3),
    "sqrt": lambda x: x / (x * x).sum()("Sqrt").clipped(1e-3),
    "pow": lambda x: x / ((x**2.0).sum() ** 0.5)("Max", 1e-3),
    "sum-square": lambda x: x / x.reduced("SumSquare", AXES)("Sqrt")("Max", 1e-3),
    "reciprocal": lambda x: x * x.reduced("L2", AXES).clipped(1e-3)("Reciprocal"),
    "keepdims": lambda x: x / x.reduced("L2", AXES, keepdims=False).clipped(1e-3).unsqueezed(-1),
    "tf": lambda x: x * (x * x).sum()("Max", 1e-6)("Sqrt")("Reciprocal"),
    "tf-rsqrt": lambda x: x * (x * x).sum()("Max", 1e-6) ** -0.5,
    "tf-div": lambda x: x / (x * x).sum()("Max", 1e-6)("Sqrt"),
    "where": lambda x: x / (x.reduced("L2", AXES) > 1e-3).where(x.reduced("L2", AXES), 1e-3),
    "where-less": lambda x: x / (x.reduced("L2", AXES) < 1e-3).where(1e-3, (x * x).sum()("Sqrt")),
}
L2_INSIDE: Mapping[str, Spelling] = {
    "sqrt": lambda x: x / ((x * x).sum() + 1e-6)("Sqrt"),
    "pow": lambda x: x / ((x**2.0).sum() + 1e-6) ** 0.5,
    "rsqrt": lambda x: x * ((x * x).sum() + 1e-6)("Sqrt")("Reciprocal"),
    "pow-minus-half": lambda x: x * ((x * x).sum() + 1e-6) ** -0.5,
    "sum-square": lambda x: x / (x.reduced("SumSquare", AXES) + 1e-6)("Sqrt"),
}
L2_PLUS: Mapping[str, Spelling] = {
    "l2": lambda x: x / (x.reduced("L2", AXES) + 1e-3),
    "sqrt": lambda x: x / ((x * x).sum()("Sqrt") + 1e-3),
    "reciprocal": lambda x: x * ((x**2.0).sum()("Sqrt") + 1e-3)("Reciprocal"),
}


def image_norm(mean: Callable[[Term], Term], *, second: str = "Pow") -> Spelling:
    """InstanceNorm or LayerNorm2d, by how means are taken."""

    def spelling(x: Term) -> Term:
        d = x - mean(x)
        v = mean(d**2.0 if second == "Pow" else d * d)
        return d / (v + EPS)("Sqrt") * IMAGE_GAMMA + IMAGE_BETA

    return spelling


def instance_moments(x: Term) -> Term:
    """Scale and shift of each channel first."""
    mean = x.mean(PLACES)
    inv = (((x - mean) ** 2.0).mean(PLACES) + EPS)("Sqrt")("Reciprocal") * IMAGE_GAMMA
    return x * inv + (x.constant(IMAGE_BETA) - mean * inv)


def flattened_instance(x: Term) -> Term:
    """Over the last of three axes."""
    y = x.reshaped(1, 4, 9)
    d = y - y.mean()
    return (d / (variance(d) + EPS)("Sqrt")).reshaped(1, 4, 3, 3) * IMAGE_GAMMA + IMAGE_BETA


def times_inverse(d: Term) -> Term:
    """What is shifted, times the inverse of its root."""
    return d * ((d * d).mean() + EPS)("Sqrt")("Reciprocal")


def grouped(inside: Spelling) -> Spelling:
    """Two groups of channels, each as one row."""
    return lambda x: inside(x.reshaped(1, 2, -1)).reshaped(1, 4, 3, 3) * IMAGE_GAMMA + IMAGE_BETA


def grouped_keras(x: Term) -> Term:
    """Five axes, statistics over three of them, affine by group."""
    y = x.reshaped(1, 2, 2, 3, 3)
    mean = y.mean((2, 3, 4))
    inv = (((y - mean) ** 2.0).mean((2, 3, 4)) + EPS)("Sqrt")("Reciprocal") * IMAGE_GAMMA.reshape(2, 2, 1, 1)
    shift = x.constant(IMAGE_BETA.reshape(2, 2, 1, 1)) - mean * inv
    return (y * inv + shift).reshaped(1, 4, 3, 3)


def group_norm_op(x: Term) -> Term:
    """With scales of each channel; the withdrawn version before opset 21 has them of each group."""
    if x.sheet.opset < 21:
        normed = x("GroupNormalization", np.ones(2), np.zeros(2), num_groups=2, epsilon=EPS)
        return normed * IMAGE_GAMMA + IMAGE_BETA
    return x("GroupNormalization", IMAGE_GAMMA.ravel(), IMAGE_BETA.ravel(), num_groups=2, epsilon=EPS)


INSTANCE_NORM: Mapping[str, Spelling] = {
    "op": lambda x: x("InstanceNormalization", IMAGE_GAMMA.ravel(), IMAGE_BETA.ravel(), epsilon=EPS),
    "pow": image_norm(lambda x: x.mean(PLACES)),
    "mul": image_norm(lambda x: x.mean(PLACES), second="Mul"),
    "negative": image_norm(lambda x: x.mean((-1, -2))),
    "global-pool": image_norm(lambda x: x("GlobalAveragePool")),
    "two-means": image_norm(lambda x: x.mean(3).mean(2)),
    "keras": instance_moments,
    "flattened": flattened_instance,
}
GROUP_NORM: Mapping[str, Spelling] = {
    "torch": grouped(lambda x: x("InstanceNormalization", np.ones(2), np.zeros(2), epsilon=EPS)),
    "pow": grouped(lambda x: normal(shifted(x))),
    "mul": grouped(lambda x: normal(shifted(x), lambda d: (d * d).mean())),
    "rsqrt": grouped(lambda x: times_inverse(shifted(x))),
    "mean-of-squares": grouped(lambda x: over_root(shifted(x), (x * x).mean() - x.mean() ** 2.0)),
    "keras": grouped_keras,
    "op": group_norm_op,
}


LAYER_NORM_2D: Mapping[str, Spelling] = {
    "convnext": image_norm(lambda x: x.mean(1)),
    "mul": image_norm(lambda x: x.mean(1), second="Mul"),
    "transposed": lambda x: over_last(x("Transpose", perm=[0, 2, 3, 1]))("Transpose", perm=[0, 3, 1, 2]),
    "keepdims": image_norm(lambda x: x.mean(1, keepdims=False).unsqueezed(1)),
}


def over_last(x: Term) -> Term:
    """LayerNorm of channels that come last."""
    return normal(shifted(x)) * IMAGE_GAMMA.ravel() + IMAGE_BETA.ravel()
