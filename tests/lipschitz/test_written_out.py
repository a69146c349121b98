"""Functions written out in primitives: in every spelling, whoever else reads their parts."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from benchmarks.written_norms import variance
from benchmarks.written_patterns import NORMS, PATTERNS
from benchmarks.written_scalars import SCALARS
from benchmarks.written_terms import SOURCE, Sheet, Term, UnavailableError
from benchmarks.written_truths import highest_found, joint_slope, true_constant
from tests.support.runtime import session
from tests.support.sensitivity import amplification, flat
from tests.support.whole_bounds import bounded

OPSETS = (11, 13, 17, 18, 20, 23)
BY_NAME = pytest.mark.parametrize("name", PATTERNS)
SWITCHES = ("Less", "Greater", "GreaterOrEqual", "Not")
WIDTH = 5
SOME = (
    *(("GELU", "expanded"), ("HardSwish", "where"), ("Softplus", "threshold"), ("ELU", "where")),
    *(("SELU", "where"), ("LeakyReLU", "masks"), ("ReLU", "mask"), ("Abs", "sign")),
    *(
        ("ELU", "relu-min"),
        ("SELU", "relu-min"),
        ("Tanh", "exp"),
        ("Tanh", "exp-down"),
        ("Mish", "powers-last"),
    ),
)
"""Spellings of functions of each number whose slopes are found fast."""


def models(name: str, opsets: tuple[int, ...] | None = None) -> dict[tuple[str, int], ModelProto]:
    """Of all spellings at these opsets that have their operators; at one each, unless told."""
    found = {}
    for i, (spelling, build) in enumerate(PATTERNS[name].spellings.items()):
        for opset in opsets or (OPSETS[i % len(OPSETS)],):
            try:
                sheet, result = Sheet.of(build, opset)
            except UnavailableError:
                continue
            found[spelling, opset] = sheet.model(result, PATTERNS[name].shape)
    return found


def off(name: str, found: dict[tuple[str, int], ModelProto]) -> dict[str, float]:
    """The spellings whose bounds are more than 1 % above the true constant; none may be below it."""
    truth = true_constant(name)
    ratios = {case: bounded(model).lipschitz / truth for case, model in found.items()}
    assert all(ratio >= 1 - 1e-6 for ratio in ratios.values()), ratios
    return {spelling: ratio for (spelling, _), ratio in ratios.items() if ratio > 1.01}


def computed(model: ModelProto, x: np.ndarray) -> np.ndarray:
    return session(model).run(None, {SOURCE: x.astype(np.float32)})[0]


@pytest.mark.parametrize("name", NORMS)
def test_spellings_of_norms_have_their_constants(name: str) -> None:
    assert off(name, models(name)) == {}


@pytest.mark.parametrize(("name", "spelling"), SOME)
def test_some_spellings_of_functions_have_their_constants(name: str, spelling: str) -> None:
    assert off(name, {case: model for case, model in models(name).items() if case[0] == spelling}) == {}


@pytest.mark.exhaustive
@BY_NAME
def test_all_spellings_have_them_at_the_oldest_and_newest_opset(name: str) -> None:
    assert off(name, models(name, (OPSETS[0], OPSETS[-1]))) == {}


@pytest.mark.exhaustive
@BY_NAME
def test_spellings_are_what_they_are_taken_for(name: str) -> None:
    import torch

    x = 4 * np.random.default_rng(0).standard_normal(PATTERNS[name].shape)
    expected = PATTERNS[name].function(torch.from_numpy(x)).numpy()
    for model in models(name, (17, 23)).values():
        found = computed(model, x)
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NORMS)
def test_no_point_is_steeper_than_the_constant(name: str) -> None:
    assert highest_found(NORMS[name]) <= true_constant(name) * (1 + 1e-6)


def softmax_of(z: Term, shift: Term, axis: int) -> Term:
    e = (z - shift)("Exp")
    return e / e.sum(axis)


def log_of_sum(z: Term, shift: Term, back: Term) -> Term:
    return (z - shift)("Exp").sum(-1, keepdims=False)("Log") + back


def largest(x: Term, axis: int = -1, *, keepdims: bool = True) -> Term:
    return x.reduced("Max", axis, keepdims=keepdims)


NEAR_MISSES: dict[str, tuple[Callable[[Term], Term], tuple[int, ...]]] = {
    "the largest of another row": (lambda x: softmax_of(x, largest(x, keepdims=False), -1), (1, 4, 4)),
    "of fewer axes": (lambda x: softmax_of(x.unsqueezed(0), largest(x), 1), (4, 4)),
    "along another axis": (lambda x: softmax_of(x, largest(x), 1), (1, 4, 4)),
    "put back elsewhere": (lambda x: log_of_sum(x, largest(x), largest(x)), (1, 4, 4)),
    "taken off twice": (lambda x: log_of_sum(x, largest(x), 3.0 * largest(x, keepdims=False)), (1, 4, 4)),
    "unlike logarithms": (
        lambda x: x - largest(x, keepdims=False) - log_of_sum(x, largest(x, keepdims=False), x.constant(0.0)),
        (1, 4, 4),
    ),
    "unlike temperatures": (
        lambda x: softmax_of(x * np.array([1.0, 5.0, 1.0, 1.0]), x.constant(0.0), -1),
        (4, 4),
    ),
    "the mean of another row": (
        lambda x: (x - x.mean(keepdims=False)) / (variance(x - x.mean(keepdims=False)) + 1e-2)("Sqrt"),
        (1, 4, 4),
    ),
    "the same square twice": (lambda x: (x * x + x * x + 1e-4)("Sqrt"), (2, 3)),
}
"""Almost what is known: square tensors broadcast along the wrong axis without a word."""


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_what_is_almost_known_is_not_taken_for_it(case: str) -> None:
    build, shape = NEAR_MISSES[case]
    single, double = (
        sheet.model(result, shape)
        for sheet, result in (Sheet.of(build, 18, kind) for kind in (TensorProto.FLOAT, TensorProto.DOUBLE))
    )
    function = flat(double, {SOURCE: shape})
    seen = max(amplification(function, math.prod(shape), scale=scale) for scale in (1e-3, 1.0, 5.0))
    assert seen <= bounded(single).lipschitz * (1 + 1e-6)


SHARED = [
    (name, spelling)
    for name, (_, spellings) in SCALARS.items()
    for spelling, build in spellings.items()
    if {node.op_type for node in Sheet.of(build, 24)[0].nodes[:-1]} - set(SWITCHES)
]
"""Spellings that have parts."""


@cache
def parts(name: str, spelling: str) -> dict[int, float]:
    """How steep each part is between its input and its last node, by its place; those that may be drawn."""
    build = PATTERNS[name].spellings[spelling]
    found = {}
    for i, node in enumerate(Sheet.of(build, 24)[0].nodes[:-1]):
        if node.op_type not in SWITCHES:
            sheet, _ = Sheet.of(build, 24, TensorProto.DOUBLE)
            part = Term(sheet, sheet.nodes[i].output[0]).cast()
            model = sheet.model(part, (4001,))
            found[i] = max(joint_slope(model, 4001), joint_slope(model, 4001, reach=300.0))
    return found


def drawn(seed: int, kind: int) -> tuple[ModelProto, list[tuple[str, str, int]]]:
    """Linear maps and functions in turn, of which a part each is an output too; and what was drawn.

    A part that is steep somewhere is only compared with zero, which is no real number.
    """
    generator, weights = random.Random(seed), np.random.default_rng(seed)
    sheet, chosen, asides = Sheet(24, kind), [], []
    x = sheet.source()
    for _ in range(generator.choice((1, 2))):
        name, spelling = generator.choice(SHARED)
        i, steep = generator.choice(list(parts(name, spelling).items()))
        x = x("MatMul", weights.standard_normal((WIDTH, WIDTH)) / WIDTH)
        start = len(sheet.nodes)
        x = PATTERNS[name].spellings[spelling](x)
        part = Term(sheet, sheet.nodes[start + i].output[0]).cast()
        small = steep < 4
        asides.append(part("MatMul", 0.1 * weights.standard_normal((WIDTH, 2))) if small else part > 0.0)
        chosen.append((name, spelling, i))
    return sheet.model(x, (1, WIDTH), *asides), chosen


def check_drawn(seed: int) -> None:
    """Bounded, and no less than the slopes at some points."""
    model, chosen = drawn(seed, TensorProto.FLOAT)
    bound = bounded(model)
    assert bound.lipschitz < math.inf, (chosen, [f"{each.op}: {each.reason}" for each in bound.obstacles])
    doubled, _ = drawn(seed, TensorProto.DOUBLE)
    function = flat(doubled, {SOURCE: (1, WIDTH)})
    seen = max(amplification(function, WIDTH, seed, points=3, scale=scale) for scale in (1.0, 8.0))
    assert seen <= bound.lipschitz * (1 + 1e-6), chosen


@pytest.mark.parametrize("seed", range(12))
def test_parts_may_be_read_elsewhere(seed: int) -> None:
    check_drawn(seed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(12, 300))
def test_in_three_hundred_graphs(seed: int) -> None:
    check_drawn(seed)
