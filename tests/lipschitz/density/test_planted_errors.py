"""The oracles of covariance propagation notice each error that its formulas invite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from convsv_cli.lipschitz.density import mapping, recursion, window
from convsv_cli.lipschitz.density.lowering.context import Lowering
from convsv_cli.lipschitz.density.quadratic import Quadratic
from convsv_cli.lipschitz.density.recursion import Recursion
from convsv_cli.lipschitz.density.route import Stretch
from convsv_cli.lipschitz.density.torus import Frequencies
from tests.support.dense_lmi import Dense
from tests.support.propagated import proofs, stretches
from tests.support.tangent_blocks import joined, strided, sum_of
from tests.support.tangent_nets import Network
from tests.support.tangent_operators import activation, transposed

Plant = Callable[[pytest.MonkeyPatch], None]
REAL = 1 + 1e-9
NETS = 25


def refuted(net: Network) -> bool:
    """Whether an oracle contradicts what is proven of a network, on the torus or once that is left."""
    bound, below = 1.0, False
    for part in stretches(net.model()):
        if not isinstance(part, Stretch):
            bound *= part.factor
            continue
        found = list(proofs(part.run.program, part.run.plan))
        bound *= min(proof.bound for proof in found)
        for proof in found:
            if math.isfinite(proof.bound) and not proof.splits:
                below |= Dense(proof.program, proof.multipliers, proof.left).bound() > proof.bound * REAL
    return below or net.steepest() > bound * REAL


def start(seed: int, channels: int, rank: int) -> tuple[Network, str]:
    net = Network(seed=seed)
    net.rank = rank
    return net, net.input(channels, (net.choice((4, 6)),) * rank)


def ended(net: Network, x: str) -> Network:
    net.outputs = [x]
    return net


def fixed(net: Network, x: str, weight: np.ndarray, *, stride: int = 1, padding: int = 0) -> str:
    """A convolution along one axis."""
    values = weight.astype(np.float32)

    def step(tensors, _):
        kernel = torch.from_numpy(values.astype(np.float64))
        return [torch.nn.functional.conv1d(tensors[0], kernel, None, stride, padding)]

    return net.add("Conv", [x], [net.constant(values)], step, strides=[stride], pads=[padding, padding])[0]


def padded_twice(seed: int) -> Network:
    """Two convolutions with nothing between, of which one undoes on the torus what the other does."""
    net = Network(seed=seed)
    x = net.input(1, (1 + seed,))
    weight = np.array([[[0.45, 1, 0.45]]])
    return ended(net, fixed(net, fixed(net, x, weight, padding=1), weight * [-1, 1, -1], padding=1))


def downsampled(seed: int) -> Network:
    net, x = start(seed, 2, 1 + seed % 2)
    return ended(net, strided(net, activation(net, strided(net, x, 2, 3)), 2, 1, stride=1))


def two_downward_branches(seed: int) -> Network:
    net, x = start(seed, 1, 1)
    return ended(net, sum_of(net, strided(net, x, 1, 3), strided(net, x, 1, 3)))


def activated(seed: int) -> Network:
    net, x = start(seed, 2, 1)
    return ended(net, activation(net, strided(net, x, 2, 1, stride=1)))


def pooled_beside(seed: int) -> Network:
    """What a pooling makes of a tensor, and the tensor."""
    net, x = start(seed, 1, 1)
    y = net.pooled(x, [1], [1], [(0, 0)])
    return ended(net, sum_of(net, y, x) if seed % 2 else joined(net, y, x))


def upsampled(seed: int) -> Network:
    net, x = start(seed, 1, 1)
    return ended(net, transposed(net, x))


def pointwise_first(seed: int) -> Network:
    """A covariance that is the same at all frequencies meets an activation, and then a convolution."""
    net, x = start(seed, 2, 1)
    x = activation(net, strided(net, x, 2, 1, stride=1))
    return ended(net, activation(net, strided(net, x, 2, 3, stride=1)))


def slanted(seed: int) -> Network:
    """Two convolutions of several channels, neither of which is the same backwards."""
    net, x = start(seed, 2, 1)
    x = activation(net, fixed(net, x, net.normal(2, 2, 2)))
    return ended(net, fixed(net, x, net.normal(2, 2, 2)))


def without_crops(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lowering, "cropped", lambda _, view: replace(view, cropped=True))


def first_alias_only(patch: pytest.MonkeyPatch) -> None:
    aliases = window.Torus.aliases
    patch.setattr(window.Torus, "aliases", lambda on, stride: tuple(x[:, :1] for x in aliases(on, stride)))


def mean_of_aliases_twice(patch: pytest.MonkeyPatch) -> None:
    def subsampled(covariance, outputs, on, stride):
        found = whole(covariance, outputs, on, stride)
        return replace(found, blocks={pair: b / math.prod(stride) for pair, b in found.blocks.items()})

    whole = recursion.subsampled
    patch.setattr(recursion, "subsampled", subsampled)


def no_conjugates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Frequencies, "of", lambda at, values: values if len(values) == 1 else values[at.index])


def infeasible_multipliers(patch: pytest.MonkeyPatch) -> None:
    """D at 0.99 of the least for which factor D >= V, with M of a feasible one, which lets it pass."""

    def feasible(self, index, variance, factor, choose):
        multiplier, middle = whole(self, index, variance, factor, choose)
        root = (factor * multiplier).rsqrt().to(variance.real.dtype)
        top = float(torch.linalg.eigvalsh(variance * (root[:, None] * root))[:, -1].max())
        return multiplier * 0.99 * top, middle

    whole = Recursion._feasible
    patch.setattr(Recursion, "_feasible", feasible)


def split_without_factor(patch: pytest.MonkeyPatch) -> None:
    def split(self, group, first, second):
        found = whole(self, group, first, second)
        return tuple(
            replace(half, covariance=replace(half.covariance, scale=half.covariance.scale / 2))
            for half in found
        )

    whole = Recursion._split
    patch.setattr(Recursion, "_split", split)


def kept_fields_as_before_a_gain(patch: pytest.MonkeyPatch) -> None:
    def gain(self, *arguments):
        gained, *rest = whole(self, *arguments)
        return [gained, *(replace(g, covariance=replace(g.covariance, product=None)) for g in rest)]

    whole = Recursion._gain
    patch.setattr(Recursion, "_gain", gain)


def aliases_coupled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mapping, "_decoupled", lambda covariance, *_, **__: covariance.multiplied_out())


def imaginary_parts_lost(patch: pytest.MonkeyPatch) -> None:
    def value(self):
        return whole(replace(self, rows={name: row.real.to(row.dtype) for name, row in self.rows.items()}))

    whole = Quadratic.value
    patch.setattr(Quadratic, "value", value)


def lags_backwards(patch: pytest.MonkeyPatch) -> None:
    differences = window._differences
    patch.setattr(window, "_differences", lambda sizes: differences(sizes).mT)


ERRORS: list[tuple[Plant, Callable[[int], Network]]] = [
    (without_crops, padded_twice),
    (first_alias_only, downsampled),
    (mean_of_aliases_twice, downsampled),
    (no_conjugates, downsampled),
    (infeasible_multipliers, activated),
    (split_without_factor, two_downward_branches),
    (kept_fields_as_before_a_gain, pooled_beside),
    (aliases_coupled, upsampled),
    (imaginary_parts_lost, pointwise_first),
    (lags_backwards, slanted),
]


@pytest.mark.parametrize(("plant", "net"), ERRORS)
def test_planted_errors_are_noticed(
    plant: Plant, net: Callable[[int], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(refuted(net(seed)) for seed in range(5))
    plant(monkeypatch)
    assert any(refuted(net(seed)) for seed in range(NETS))


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_where_nothing_is_padded(seed: int) -> None:
    """A window that is the torus has the bound of the matrix inequality: no term is too large."""
    net, x = start(seed, 2, 1 + seed % 2)
    x = activation(net, strided(net, x, 3, 1))
    x = strided(net, x, 2, 1, stride=1)
    net = ended(net, sum_of(net, activation(net, x), x))
    (part,) = stretches(net.model())
    assert isinstance(part, Stretch)
    for proof in proofs(part.run.program, part.run.plan):
        dense = Dense(proof.program, proof.multipliers, proof.left).bound()
        assert dense * (1 - 1e-12) <= proof.bound <= dense * (1 + 1e-6)


def test_a_sum_over_aliases_is_too_large() -> None:
    """Patches without overlap: the mean of aliases is the norm of the matrix, no more."""
    net, x = start(0, 2, 1)
    weight = net.normal(3, 2, 2)
    net = ended(net, fixed(net, x, weight, stride=2))
    (part,) = stretches(net.model())
    assert isinstance(part, Stretch)
    norm = np.linalg.norm(weight.reshape(3, -1).astype(np.float64), 2)
    for proof in proofs(part.run.program, part.run.plan):
        assert norm * (1 - 1e-12) <= proof.bound <= norm * (1 + 1e-8)
