"""The peers for dense chains, re-implemented: between the truth and the product of norms, in their order."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.dense_chains import Weights, random_chain, save_chain
from benchmarks.eclipse import eclipse_fast
from benchmarks.lipsdp import lipsdp_neuron, with_multipliers
from convsv_cli import audit
from tests.support import runtime

WIDTHS = [(3, 5, 4), (2, 4, 3), (5, 8, 3), (3, 4, 4, 2), (3, 3, 4, 3, 3)]
EACH = pytest.mark.parametrize("widths", WIDTHS, ids=str)


def truth(weights: Weights) -> float:
    """The largest norm of W_l D_(l-1) ... D_1 W_1 over all patterns of active neurons."""
    sizes = [len(weight) for weight in weights[:-1]]
    largest = 0.0
    for pattern in itertools.product((0.0, 1.0), repeat=sum(sizes)):
        rest, matrix = np.array(pattern), weights[0]
        for size, weight in zip(sizes, weights[1:], strict=True):
            matrix, rest = weight @ (rest[:size, None] * matrix), rest[size:]
        largest = max(largest, float(np.linalg.norm(matrix, 2)))
    return largest


def product(weights: Weights) -> float:
    return math.prod(float(np.linalg.norm(weight, 2)) for weight in weights)


@EACH
def test_they_are_between_the_truth_and_the_product(widths: tuple[int, ...]) -> None:
    for seed in range(3):
        weights = random_chain(widths, seed)
        program = lipsdp_neuron(weights, solver="CLARABEL")
        assert program.optimum == pytest.approx(program.bound, rel=1e-6)
        assert truth(weights) <= program.bound * (1 + 1e-9)
        assert program.bound <= eclipse_fast(weights) * (1 + 1e-7)
        assert eclipse_fast(weights) <= product(weights) * (1 + 1e-12)


@EACH
def test_the_faster_solver_finds_the_same(widths: tuple[int, ...]) -> None:
    weights = random_chain(widths, 0)
    program, slower = lipsdp_neuron(weights), lipsdp_neuron(weights, solver="CLARABEL")
    assert program.optimum == pytest.approx(slower.optimum, rel=1e-3)
    assert slower.optimum * (1 - 1e-6) <= program.bound <= slower.optimum * (1 + 1e-2)
    assert program.seconds > 0


def test_with_one_neuron_a_layer_all_is_the_product() -> None:
    weights = random_chain((4, 1, 1, 3), 0)
    assert lipsdp_neuron(weights, solver="CLARABEL").bound == pytest.approx(product(weights), rel=1e-6)
    assert eclipse_fast(weights) == pytest.approx(product(weights), rel=1e-12)


def test_the_scale_of_a_layer_does_not_matter() -> None:
    weights = random_chain((3, 4, 4, 2), 0)
    scaled = [weights[0] * 1e3, weights[1] * 1e-5, weights[2] * 1e2]
    for bound in (eclipse_fast, lambda w: lipsdp_neuron(w, solver="CLARABEL").bound):
        assert bound(scaled) == pytest.approx(bound(weights), rel=1e-6)


@EACH
def test_any_multipliers_give_a_bound(widths: tuple[int, ...]) -> None:
    """Also those that are not feasible, which give way."""
    weights, generator = random_chain(widths, 1), np.random.default_rng(0)
    for _ in range(20):
        multipliers = [np.exp(generator.standard_normal(size)) for size in widths[1:-1]]
        assert with_multipliers(weights, multipliers, 1e-3) >= truth(weights)


def test_the_closed_form_is_lipsdp_at_its_multipliers() -> None:
    weights = random_chain((3, 4, 5, 2), 0)
    first = np.linalg.norm(weights[0], 2) ** 2
    spread = weights[0] @ weights[0].T
    covariance = first**2 * np.linalg.inv(2 * first * np.eye(4) - spread)
    second = np.linalg.eigvalsh(weights[1] @ covariance @ weights[1].T)[-1]
    multipliers = [np.full(4, 1 / first), np.full(5, 1 / second)]
    assert with_multipliers(weights, multipliers) == pytest.approx(eclipse_fast(weights), rel=1e-9)


def test_a_file_holds_the_chain(tmp_path: Path) -> None:
    weights = random_chain((3, 5, 4), 0)
    path = save_chain(tmp_path / "chain.onnx", weights)
    x = np.random.default_rng(0).standard_normal((1, 3))
    (values,) = runtime.session(path).run(None, {"image": x.astype(np.float32)})
    hidden = np.maximum(x @ weights[0].T, 0)
    assert values == pytest.approx(hidden @ weights[1].T, rel=1e-5, abs=1e-6)
    report = audit(path)
    assert len(report.layers) == 2
    assert truth(weights) <= report.bound.lipschitz
