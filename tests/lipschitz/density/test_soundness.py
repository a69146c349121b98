"""Covariance propagation is above everything that can be shown of random zero-padded networks."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch

from convsv_cli.lipschitz.bound import composition_of
from convsv_cli.lipschitz.density.plan import planned
from convsv_cli.lipschitz.density.route import Stretch
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.numerics.intervals import Range
from convsv_cli.report import QUICK
from tests.support import runtime
from tests.support.dense_lmi import Dense
from tests.support.propagated import Proof, proofs, proven, stretches
from tests.support.sampling import one_in
from tests.support.sensitivity import network, norms_of_rows
from tests.support.tangent_blocks import drawn
from tests.support.tangent_nets import Network
from tests.support.whole_bounds import bounded

NETS, SOME, SAMPLE = range(240), range(60), 3
"""The default run has every third of them."""
REAL = 1 + 1e-9
"""The oracles compute in double precision."""


@dataclass(frozen=True)
class Case:
    """A network, the least product of the bounds of its parts, and all that was proven of those.

    Attributes:
        net: that was drawn.
        bound: by covariances wherever there is a program, even where the rules give less.
        proofs: of each part that has a program.
    """

    net: Network
    bound: float
    proofs: tuple[tuple[Proof, ...], ...]


@cache
def case(seed: int) -> Case:
    net, bound, found = drawn(seed), 1.0, []
    for part in stretches(net.model()):
        if isinstance(part, Stretch):
            found.append(tuple(proofs(part.run.program, part.run.plan)))
            bound *= min(proof.bound for proof in found[-1])
        else:
            bound *= part.factor
    return Case(net=net, bound=bound, proofs=tuple(found))


@pytest.mark.parametrize("seed", one_in(SAMPLE, NETS), scope="module")
def test_no_jacobian_exceeds_the_bound(seed: int) -> None:
    assert case(seed).net.steepest() <= case(seed).bound * REAL


def differences(net: Network, limit: float) -> torch.Tensor:
    """Of outputs, by the length of those of the inputs, with entries of at most so much: a row each."""
    generator = torch.Generator().manual_seed(net.seed)
    x, y = limit * (2 * torch.rand(2, 300, net.size, generator=generator, dtype=torch.float64) - 1)
    share = 10 ** (-3 * torch.rand(300, 1, generator=generator, dtype=torch.float64))
    y = x + share * (y - x)
    return (net.tangents(y, None) - net.tangents(x, None)) / (y - x).norm(dim=1)[:, None]


def ratios(net: Network, limit: float) -> float:
    """The largest amplification of these."""
    return float(differences(net, limit).norm(dim=1).max())


def test_no_jacobian_exceeds_the_bound_of_the_coarsest_plan() -> None:
    """Mostly it is larger than that of the finest, but its multipliers are chosen anew."""
    coarser = 0
    for seed in SOME[:: 4 * SAMPLE]:
        bound = 1.0
        for part in stretches(drawn(seed).model()):
            if isinstance(part, Stretch):
                plan = planned(part.run.program, 1.0)  # less than any takes
                coarser += bool(plan.splits or plan.levels)
                assert plan.work <= part.run.plan.work
                bound *= proven(part.run.program, plan).bound
            else:
                bound *= part.factor
        assert case(seed).net.steepest() <= bound * REAL
    assert coarser > 2


@pytest.mark.parametrize("seed", one_in(SAMPLE, NETS), scope="module")
def test_no_ratio_exceeds_the_bound(seed: int) -> None:
    assert ratios(case(seed).net, 10.0) <= case(seed).bound * (1 + 1e-6)


@pytest.mark.parametrize("limit", [0.3, math.inf])
@pytest.mark.parametrize("seed", one_in(SAMPLE, SOME), scope="module")
def test_no_ratio_in_a_box_exceeds_the_bound_there(seed: int, limit: float) -> None:
    """Where slopes are those over the ranges of what the activations are applied to."""
    net, bound = drawn(seed), 1.0
    for part in stretches(net.model(), Range(lower=-limit, upper=limit)):
        if isinstance(part, Stretch):
            bound *= min(proof.bound for proof in proofs(part.run.program, part.run.plan))
        else:
            bound *= part.factor
    assert ratios(net, min(limit, 3.0)) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("seed", one_in(SAMPLE, NETS), scope="module")
def test_the_bound_is_not_below_the_dense_matrix_inequality(seed: int) -> None:
    """With the same multipliers; those of fields that were split are other ones where they meet again."""
    for proof in (proof for part in case(seed).proofs for proof in part):
        if math.isfinite(proof.bound) and not proof.splits:
            assert Dense(proof.program, proof.multipliers, proof.left).bound() <= proof.bound * REAL


@pytest.mark.parametrize("seed", one_in(SAMPLE, SOME), scope="module")
def test_networks_are_what_onnxruntime_runs(seed: int) -> None:
    """What the oracles push differences through is the network that was bounded."""
    net = case(seed).net
    session = runtime.session(net.model(), rewritten=False)
    x = np.random.default_rng(seed).standard_normal(net.size).astype(np.float32)
    parts = np.split(x, np.cumsum([math.prod(net.shape(name)) for name in net.inputs])[:-1])
    feeds = {n: part.reshape(1, *net.shape(n)) for n, part in zip(net.inputs, parts, strict=True)}
    outputs = np.concatenate([output.ravel() for output in session.run(None, feeds)])
    expected = net.tangents(torch.from_numpy(x).double()[None], None)[0].numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4 * (1 + abs(expected).max()))


@pytest.mark.parametrize("seed", one_in(10 * SAMPLE, SOME))
def test_what_is_printed_is_not_below_either(seed: int) -> None:
    """The same on the road of the command line, with its search."""
    net = case(seed).net
    assert ratios(net, 10.0) <= bounded(net.model()).lipschitz * (1 + 1e-6)


@pytest.mark.parametrize("seed", one_in(SAMPLE, SOME), scope="module")
def test_covariances_of_outputs_hold_differences_of_them(seed: int) -> None:
    """What margins of pairs of classes are divided by: d d' is below the covariance times |x - y|^2."""
    net = drawn(seed)
    net.outputs = net.outputs[:1]
    read = network(net.model())
    assert read.graph is not None
    composition = composition_of(read.graph, norms_of_rows(read), effort=Effort(level=QUICK))
    assert (composition.output is None) or composition.output.shape == (entries_of(net),) * 2
    if composition.output is not None:
        slack = 1e-9 * composition.output.diagonal().max()
        for change in differences(net, 10.0)[:50]:
            rest = composition.output - change[:, None] * change
            assert torch.linalg.eigvalsh(rest)[0] >= -slack


def entries_of(net: Network) -> int:
    return sum(math.prod(net.shape(name)) for name in net.outputs)


def test_all_kinds_of_steps_are_drawn() -> None:
    """And compared with the matrix inequality, and mostly have a program from end to end."""
    cases = [case(seed) for seed in NETS[::SAMPLE]]
    ops = Counter(node.op_type for each in cases for node in each.net.nodes)
    assert len(ops) >= 28, ops
    assert min(ops.values()) >= 2, ops
    parts = [part for each in cases for part in each.proofs]
    steps = Counter(
        (type(step).__name__, getattr(step, "upward", False), bool(getattr(step, "stride", ())))
        for part in parts
        for step in part[0].program.steps
    )
    assert len(steps) == 6, steps
    assert sum(math.isfinite(part[0].bound) for part in parts) >= 0.95 * len(parts)
    assert sum(part[0].splits > 0 for part in parts) >= 10
    assert sum(part[0].splits == 0 for part in parts) >= 0.6 * len(parts)
    assert sum(proof.left is not None for part in parts for proof in part) >= 0.8 * len(parts)
