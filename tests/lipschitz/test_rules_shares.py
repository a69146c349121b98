"""Softmax whose sum has a number added, or a limit."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto

from benchmarks.written_softmax import exp_shifted, over_sum, peak_of
from benchmarks.written_terms import SOURCE, Sheet, Term
from convsv_cli.lipschitz.written_out import read_back
from convsv_cli.lipschitz.written_out.exponentials import SHARES
from tests.support.sensitivity import amplification, flat, jacobian, network
from tests.support.whole_bounds import bounded

SHAPE = (2, 3)
LEAST = 0.75
CASES: dict[str, tuple[Callable[[Term], Term], float]] = {
    "shifted, a number added": (lambda x: over_sum(exp_shifted(x), lambda e: e.sum() + LEAST), 0.7),
    "shifted, a limit": (lambda x: over_sum(exp_shifted(x), lambda e: e.sum().clipped(1.7)), 1.0),
    "shifted, a limit and a number": (
        lambda x: over_sum(exp_shifted(x), lambda e: e.sum()("Max", 1.5) + 0.1),
        1.0,
    ),
    "shifted, a function": (lambda x: exp_shifted(x) * (2 * exp_shifted(x).sum())("Tanh"), 3.0),
    "a number added": (lambda x: over_sum(x("Exp"), lambda e: e.sum() + LEAST), 0.5),
    "a limit": (lambda x: over_sum(x("Exp"), lambda e: e.sum()("Max", LEAST)), 1.0),
    "a limit below one": (lambda x: over_sum(exp_shifted(x), lambda e: e.sum()("Max", 1e-3)), 0.5),
    "means taken off": (lambda x: over_sum((x - x.mean())("Exp"), lambda e: e.sum() + 0.1), 0.5),
}
"""The function, and what its bound is not above."""
OTHERS: dict[str, Callable[[Term], Term]] = {
    "other exponents": lambda x: (2 * x)("Exp") / (x("Exp").sum() + 0.1),
    "exponents of another row": lambda x: x("Exp") / (x - peak_of(x))("Exp").sum().clipped(0.1),
    "a number taken off": lambda x: over_sum(x("Exp"), lambda e: e.sum() - 0.1),
    "an upper limit": lambda x: over_sum(x("Exp"), lambda e: e.sum()("Min", 4.0)),
    "a sum without its axis": lambda x: over_sum(
        x.unsqueezed(0)("Exp"), lambda e: e.sum(1, keepdims=False) + 0.1
    ),
}
PEAKS: dict[str, Callable[[Term], Term]] = {
    "along another axis": lambda x: over_sum((x - x.reduced("Max", 0))("Exp"), lambda e: e.sum() + 0.1),
    "twice": lambda x: over_sum((x - 2.0 * peak_of(x))("Exp"), lambda e: e.sum() + 0.1),
    "of twice as much": lambda x: over_sum(
        (x - (2.0 * x).reduced("Max", -1))("Exp"), lambda e: e.sum() + 0.1
    ),
    "twice, with a limit": lambda x: over_sum((x - 2.0 * peak_of(x))("Exp"), lambda e: e.sum().clipped(0.1)),
}
"""The largest entries that are taken off are not those of the same row: the sum may be less than 1."""


def seen(build: Callable[[Term], Term]) -> float:
    """The largest slope of random points."""
    sheet, result = Sheet.of(build, 18, TensorProto.DOUBLE)
    function = flat(sheet.model(result, SHAPE), {SOURCE: SHAPE})
    return max(
        amplification(function, math.prod(SHAPE), points=20, scale=scale) for scale in (1e-3, 1.0, 3.0)
    )


def ops(build: Callable[[Term], Term]) -> set[str]:
    sheet, result = Sheet.of(build, 18)
    graph = network(sheet.model(result, SHAPE)).graph
    assert graph is not None
    return {node.op for node in read_back(graph).main.nodes}


@pytest.mark.parametrize("name", CASES)
def test_shares_have_a_bound_that_holds(name: str) -> None:
    build, most = CASES[name]
    assert ops(build) & {SHARES, "Softmax"}
    sheet, result = Sheet.of(build, 18)
    found = bounded(sheet.model(result, SHAPE)).lipschitz
    assert seen(build) <= found * (1 + 1e-6)
    assert name == "means taken off" or found <= most * (1 + 2e-4)


def test_a_limit_is_reached() -> None:
    build, most = CASES["a limit"]
    sheet, result = Sheet.of(build, 18, TensorProto.DOUBLE)
    function = flat(sheet.model(result, SHAPE), {SOURCE: SHAPE})
    at = np.array([[math.log(LEAST) - 1e-3, -40.0, -40.0]] * 2).ravel()
    assert np.linalg.norm(jacobian(function, at), 2) >= 0.99 * most


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_none_is_not_taken_for_it(name: str) -> None:
    assert not ops(OTHERS[name]) & {SHARES, "Softmax"}
    sheet, result = Sheet.of(OTHERS[name], 18)
    assert seen(OTHERS[name]) <= bounded(sheet.model(result, SHAPE), (-20.0, 20.0)).lipschitz


@pytest.mark.parametrize("name", PEAKS)
def test_other_entries_that_are_taken_off_count(name: str) -> None:
    sheet, result = Sheet.of(PEAKS[name], 18)
    graph = network(sheet.model(result, SHAPE)).graph
    assert graph is not None
    assert not any(
        node.attribute("shifted", 0) or node.op == "Softmax" for node in read_back(graph).main.nodes
    )
    assert seen(PEAKS[name]) <= bounded(sheet.model(result, SHAPE)).lipschitz
