"""What is proven in floating point is above the same in sixty digits, and hardly more."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from mpmath import mp

from convsv_cli.lipschitz.density.covariance import Covariance
from convsv_cli.lipschitz.density.functionals import functional
from convsv_cli.lipschitz.density.levels import level, levelled, stacked
from convsv_cli.lipschitz.density.mapping import mapped, subsampled, upsampled
from convsv_cli.lipschitz.density.multipliers import Multiplier
from convsv_cli.lipschitz.density.plan import planned
from convsv_cli.lipschitz.density.program import Program
from convsv_cli.lipschitz.density.search import chosen
from convsv_cli.lipschitz.density.steps import Activation, Convolution, Field, Functional, Linear, Scaling
from convsv_cli.lipschitz.density.symbols import symbol
from convsv_cli.lipschitz.density.torus import Torus, torus, transform
from convsv_cli.lipschitz.density.window import restricted
from tests.support.exact_frequencies import end_of, exact, excess, symbol_at, wave
from tests.support.propagated import Recorded

SEEDS = range(4)
CLOSE = 1e-6
LIMIT = -1e-50
"""Sixty digits have their own rounding."""


def weights(seed: int, *shape: int, spread: float = 0.0) -> torch.Tensor:
    """Of sizes that vary by powers of ten from row to row."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    sizes = 10 ** (spread * torch.randn(shape[1], generator=generator, dtype=torch.float64))
    return values * sizes.reshape(-1, *(1,) * (len(shape) - 2))


def convolution(seed: int, out: int, into: int, *offsets: range, spread: float = 0.0) -> Convolution:
    kernel = weights(seed, 1, out, into, *map(len, offsets), spread=spread)
    return Convolution(kernel=kernel, offsets=tuple(map(tuple, offsets)), stride=(1,) * len(offsets))


def chain(seed: int, window: tuple[int, ...], spread: float = 0.0) -> Program:
    """Three layers with slopes in [0, 1] and [-0.2, 1.1], and a skip."""
    along = (range(-1, 2),) * len(window)
    fields = {
        name: Field(channels=count, window=window, reach=tuple(n + 1 for n in window))
        for name, count in {"x": 2, "z": 3, "a": 3, "w": 3, "s": 3, "b": 3, "y": 2}.items()
    }
    ends = [torch.full((3,), end, dtype=torch.float64) for end in (0.0, 1.0, -0.2, 1.1)]
    one = Scaling(factors=torch.ones(1, dtype=torch.float64))
    steps = (
        Linear(outputs={"z": (("x", convolution(seed, 3, 2, *along, spread=spread)),)}),
        Activation(source="z", output="a", lower=ends[0], upper=ends[1], inside=(ends[0], ends[1])),
        Linear(outputs={"w": (("a", convolution(seed + 1, 3, 3, *along, spread=spread)),)}),
        Linear(outputs={"s": (("w", one), ("z", one))}),
        Activation(source="s", output="b", lower=ends[2], upper=ends[3], inside=(ends[2], ends[3])),
        Linear(outputs={"y": (("b", convolution(seed + 2, 2, 3, *along)),)}),
    )
    return Program(steps=steps, fields=fields, sources=("x",), outputs=("y",))


@pytest.mark.parametrize("channels", [2, 40], ids=["axis by axis", "at once"])
def test_a_transform_is_the_sum_over_taps(channels: int) -> None:
    kernel = np.random.default_rng(0).standard_normal((channels, 3, 4, 3))
    offsets, on = ((-2, 0, 3, 5), (0, 1, 2)), torus((9, 8))
    found, error = transform(torch.from_numpy(kernel), offsets, on)
    angles = [
        np.outer(index, along) * 2 * np.pi
        for index, along in zip(on.index.numpy().T / [[9], [8]], offsets, strict=True)
    ]
    true = np.einsum("cdst,fs,ft->fcd", kernel, *(np.exp(1j * angle) for angle in angles))
    assert np.linalg.norm(found.numpy() - true, axis=(1, 2)).max() <= error + 1e-12
    assert 0 < error < 1e-11


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("window", [(), (4,), (2, 2)])
@pytest.mark.parametrize(("spread", "ratio"), [(0.0, -0.7), (2.0, -0.7), (0.0, -12.0), (2.0, -12.0)])
def test_whole_recursions(seed: int, window: tuple[int, ...], spread: float, ratio: float) -> None:
    """With weights of all sizes, and with multipliers so small that M is nearly singular."""
    program = chain(seed, window, spread)
    own = {
        index: Multiplier(
            shape=weights(seed + 9, 1, 3)[0] * spread, ratio=torch.tensor(ratio, dtype=torch.float64)
        )
        for index in (1, 4)
    }
    recursion = Recorded(program, plan=planned(program))
    covariances = recursion.run(chosen(own))
    bound, (found,) = level(covariances, proof=True), covariances
    whole, squares = stacked(found), []
    for turns, proven in zip(program.tori["y"].index.tolist(), whole, strict=True):
        needed = end_of(program, recursion.multipliers, turns)
        assert excess(proven, needed, found.multiplied_out().scale) >= LIMIT
        squares.append(max(mp.eighe(needed, eigvals_only=True)))
    exactly = float(mp.sqrt(max(squares)))
    assert exactly <= bound
    assert bound <= exactly * (1 + CLOSE) or ratio < -1


def covariance(seed: int, on: Torus, channels: dict[str, int]) -> Covariance:
    """Of fields that vary together, of different sizes."""
    generator, count = torch.Generator().manual_seed(seed), sum(channels.values())
    root = torch.randn(on.count, count, count, generator=generator, dtype=torch.complex128)
    root[on.weights == 1] = root[on.weights == 1].real.to(root.dtype)
    root *= 10 ** torch.randn(count, 1, generator=generator, dtype=torch.float64)
    whole = root @ root.mH
    whole = (whole + whole.mH) / 2
    names, sizes = list(channels), list(channels.values())
    rows = dict(zip(names, whole.split(sizes, 1), strict=True))
    blocks = {
        (one, other): rows[one].split(sizes, 2)[j]
        for i, one in enumerate(names)
        for j, other in enumerate(names)
        if i <= j
    }
    return Covariance(fields=tuple(names), blocks=blocks, proof=True)


def is_above(found: Covariance, needed: list[object], near: float = 1e-9) -> None:
    """At all frequencies, and by little."""
    plain = found.multiplied_out()
    for proven, exactly in zip(stacked(plain), needed, strict=True):
        least = excess(proven, exactly, plain.scale)
        assert least >= LIMIT
        assert least <= near * float(proven.abs().max()) * plain.scale


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("groups", [1, 2])
def test_linear_maps_of_fields(seed: int, groups: int) -> None:
    on = torus((5,))
    before = covariance(seed, on, {"x": 2, "k": 3})
    kernel = weights(seed, groups, 2, 2 // groups, 3)
    part = Convolution(kernel=kernel, offsets=((-1, 1, 3),), stride=(1,))
    other = convolution(seed + 5, 2 * groups, 3, range(2))
    terms = [("x", symbol(part, on, torch.complex128)), ("k", symbol(other, on, torch.complex128))]
    found = mapped(before, {"y": terms}, ("k",))
    needed = []
    for turns, joint in zip(on.index.tolist(), stacked(before), strict=True):
        top, left, right = mp.zeros(3, 5), symbol_at(part, turns, (5,), 2), symbol_at(other, turns, (5,), 3)
        for i in range(3):
            top[i, 2 + i] = 1
        rows = [[*top[i, :]] for i in range(3)]
        rows += [[*left[i, :], *right[i, :]] for i in range(2 * groups)]
        matrix = mp.matrix(rows)
        needed.append(matrix * exact(joint) * matrix.H)
    assert found.fields == ("k", "y")
    is_above(found, needed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("sizes", "stride"), [((6,), (2,)), ((6,), (3,)), ((4, 6), (2, 3)), ((2,), (2,))])
def test_means_of_aliases(seed: int, sizes: tuple[int, ...], stride: tuple[int, ...]) -> None:
    on, part = torus(sizes), convolution(seed, 2, 2, *(range(2),) * len(sizes))
    before = covariance(seed, on, {"x": 2})
    found = subsampled(before, {"y": [("x", symbol(part, on, torch.complex128))]}, on, stride)
    blocks = {
        tuple(turns): exact(block) for turns, block in zip(on.index.tolist(), stacked(before), strict=True)
    }
    needed = []
    for coarse in on.coarse(stride).index.tolist():
        total, fine = mp.zeros(2), [n // s for n, s in zip(sizes, stride, strict=True)]
        for steps in np.ndindex(*stride):
            turns = tuple(c + k * n for c, k, n in zip(coarse, steps, fine, strict=True))
            opposite = tuple(-t % n for t, n in zip(turns, sizes, strict=True))
            block = blocks[turns] if turns in blocks else blocks[opposite].conjugate()
            matrix = symbol_at(part, turns, sizes, 2)
            total += matrix * block * matrix.H
        needed.append(total / math.prod(stride))
    is_above(found, needed)


def lag(before: Covariance, on: Torus, apart: tuple[int, ...]) -> object:
    """What positions so far apart have in common: the mean over all frequencies, not half of them."""
    total = mp.zeros(2)
    for turns, weight, block in zip(on.index.tolist(), on.weights.tolist(), stacked(before), strict=True):
        term = exact(block) * wave(turns, on.sizes, apart)
        total += mp.mpf(weight) * (term + term.conjugate()) / 2
    return total / on.positions


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("sizes", "window"), [((5,), (3,)), ((4, 6), (2, 3))])
def test_windows(seed: int, sizes: tuple[int, ...], window: tuple[int, ...]) -> None:
    on = torus(sizes)
    before = covariance(seed, on, {"x": 2})
    found = restricted(before, Field(channels=2, window=window, reach=sizes), on)
    places = list(np.ndindex(*window))
    needed = mp.zeros(2 * len(places))
    for (i, p), (j, q) in product(enumerate(places), repeat=2):
        block = lag(before, on, tuple(a - b for a, b in zip(p, q, strict=True)))
        for c, d in product(range(2), repeat=2):
            needed[c * len(places) + i, d * len(places) + j] = block[c, d]
    is_above(found, [needed])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("constant", [True, False])
def test_sums_over_windows(seed: int, diagonal: bool, constant: bool) -> None:
    on = torus((2, 5))
    before = covariance(seed, on, {"x": 2})
    block = before.blocks["x", "x"]
    if constant:
        block = block[:1].real.contiguous()
        before = Covariance(fields=("x",), blocks={("x", "x"): block}, proof=True)
    window = (2, 3)
    kernel = weights(seed, *((2, 1) if diagonal else (3, 2)), *window)
    step = Functional(source="x", output="y", kernel=kernel, diagonal=diagonal)
    found = functional(before, step, on)
    places = list(np.ndindex(*window))
    needed = mp.zeros(len(kernel))
    for p, q in product(places, repeat=2):
        independent = exact(block[0]) if p == q else mp.zeros(2)
        apart = tuple(a - b for a, b in zip(p, q, strict=True))
        common = independent if constant else lag(before, on, apart)
        first, second = (kernel[(slice(None), slice(None), *place)].numpy() for place in (p, q))
        if diagonal:
            first, second = (np.diag(each[:, 0]) for each in (first, second))
        needed += exact(first) * common * exact(second).T
    is_above(found, [needed])


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_constant_is_above_every_frequency(seed: int) -> None:
    before = covariance(seed, torus((5,)), {"x": 2, "k": 2})
    found = levelled(before)
    (whole,) = stacked(found)
    for block in stacked(before):
        assert excess(whole, exact(block), found.scale) >= LIMIT


@pytest.mark.parametrize("seed", SEEDS)
def test_aliases_that_vary_together_are_below_their_blocks(seed: int) -> None:
    """An upsampled field: one coarse frequency at several fine ones."""
    coarse, on, stride = torus((4,)), torus((8,)), (2,)
    part = Convolution(
        kernel=weights(seed, 1, 2, 2, 3), offsets=((-1, 0, 1),), stride=stride, transposed=True
    )
    before = covariance(seed, coarse, {"x": 2})
    found = upsampled(before, {"y": [("x", symbol(part, on, torch.complex128))]}, on, stride)
    blocks = dict(zip((t for (t,) in on.index.tolist()), stacked(found), strict=True))
    for (turn,), block in zip(coarse.index.tolist(), stacked(before), strict=True):
        aliases = [turn, turn + 4]
        matrix = mp.matrix(4, 2)
        proven = torch.zeros(4, 4, dtype=torch.complex128)
        for i, alias in enumerate(aliases):
            matrix[2 * i : 2 * i + 2, :] = symbol_at(part, (alias,), (8,), 2) / mp.sqrt(2)
            kept = blocks[alias] if alias in blocks else blocks[8 - alias].conj()
            proven[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = kept
        assert excess(proven, matrix * exact(block) * matrix.H, found.scale) >= LIMIT


def test_a_proof_that_absorbs_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Covariance, "absorbing", lambda self, _: self)
    with pytest.raises(AssertionError):
        test_linear_maps_of_fields(0, 1)


def test_what_a_network_is_given_is_told_from_what_only_has_its_variances() -> None:
    """The identity needs no product, as entries of variance 1 that depend on each other do."""
    found = symbol(convolution(0, 3, 2, range(-1, 2)), torus((8,)), torch.complex128)
    for block in (torch.eye(2).double(), torch.tensor([[1.0, 0.5], [0.5, 1.0]]).double()):
        assert torch.equal(found.times(block[None]), found.matrix[:, 0] @ block.to(torch.complex128))
    assert found.times(torch.eye(2).double()[None].requires_grad_()).requires_grad
