"""Runtimes stay within the errors that are claimed for all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from convsv_cli.local import arithmetic
from convsv_cli.local.arithmetic import ARITHMETICS, BFLOAT16, FLOAT16, FLOAT32, REAL
from tests.support.one_node import one_node

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FORMATS = pytest.mark.parametrize("name", DTYPES)
F = torch.nn.functional


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Of all sizes, so that sums cancel."""
    return (torch.randn(shape) * 10 ** torch.randn(shape)).clamp(-100, 100).to(dtype)


def exact_product(weight: torch.Tensor, a: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """W a + b in real arithmetic, rounded once: products of two float32 numbers are exact in float64."""
    rows = (weight.double() * a.double()).tolist()
    return torch.tensor([math.fsum([*row, b]) for row, b in zip(rows, bias.double().tolist(), strict=True)])


def magnitude(weight: torch.Tensor, a: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """|W| |a| + |b|, rounded up."""
    return ((weight.double() * a.double()).abs().sum(1) + bias.double().abs()) * (1 + 1e-9)


def largest(*tensors: torch.Tensor) -> float:
    return max(float(x.abs().max()) for x in tensors)


def one_by_one(terms: np.ndarray) -> np.float32:
    """The sum in float32, from the first to the last."""
    return np.add.accumulate(terms, dtype=np.float32)[-1]


def pairwise(terms: np.ndarray) -> np.float32:
    while len(terms) > 1:
        odd = terms[len(terms) // 2 * 2 :]
        terms = np.concatenate((terms[: len(terms) // 2 * 2 : 2] + terms[1::2], odd))
    return terms[0]


ORDERS = {
    "as they are": lambda x: x,
    "backwards": lambda x: x[::-1],
    "largest first": lambda x: x[np.argsort(-np.abs(x))],
    "smallest first": lambda x: x[np.argsort(np.abs(x))],
    "positive first": lambda x: np.sort(x)[::-1],
    "shuffled": lambda x: np.random.default_rng(0).permutation(x),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("add", [one_by_one, pairwise])
def test_sums_in_any_order(order, add):
    for terms in (1, 2, 33, 4000):
        weight, a, bias = normal(8, terms), normal(terms), normal(8)
        products = np.concatenate((weight.numpy() * a.numpy(), bias.numpy()[:, None]), 1)
        found = torch.tensor([float(add(ORDERS[order](row))) for row in products])
        allowed = FLOAT32.products(terms, magnitude(weight, a, bias), operands=largest(weight, a))
        assert ((found.double() - exact_product(weight, a, bias)).abs() <= allowed).all()


def lost_one_by_one(terms: int) -> tuple[torch.Tensor, torch.Tensor]:
    """1 and many numbers that each vanish beside it: as far off as a sum can be, but for a factor near 1."""
    return torch.ones(1, terms), torch.cat((torch.ones(1), torch.full((terms - 1,), 2.0**-24)))


def test_a_missing_gamma_is_noticed():
    """Planted: an error as of one sum, however long it is."""
    weight, a = lost_one_by_one(10_000)
    bias = torch.zeros(1)
    off = (exact_product(weight, a, bias) - float(one_by_one(a.numpy()))).abs()
    size = magnitude(weight, a, bias)
    assert off <= FLOAT32.products(10_000, size, operands=1.0)
    assert off >= FLOAT32.products(10_000, size, operands=1.0) * 0.99
    assert off > FLOAT32.products(5_000, size, operands=1.0)
    assert off > FLOAT32.products(0, size, operands=1.0) * 1000


@FORMATS
@pytest.mark.parametrize("terms", [1, 7, 300, 5000])
def test_linear_maps_of_torch(name, terms):
    dtype = DTYPES[name]
    weight, a, bias = normal(16, terms, dtype=dtype), normal(terms, dtype=dtype), normal(16, dtype=dtype)
    allowed = ARITHMETICS[name].products(terms, magnitude(weight, a, bias), operands=largest(weight, a))
    for found in (F.linear(a, weight, bias), F.linear(a[None], weight, bias)[0], weight @ a + bias):
        assert ((found.double() - exact_product(weight, a, bias)).abs() <= allowed).all()


@FORMATS
def test_weights_rounded_to_the_format(name):
    dtype = DTYPES[name]
    weight, a, bias = normal(16, 300), normal(300, dtype=dtype), normal(16)
    found = F.linear(a, weight.to(dtype), bias.to(dtype)).double()
    allowed = ARITHMETICS[name].products(300, magnitude(weight, a, bias), operands=largest(weight, a))
    assert ((found - exact_product(weight, a, bias)).abs() <= allowed).all()


@pytest.mark.parametrize("name", ["float32", "float16"])
def test_convolutions_of_onnxruntime(name):
    dtype = DTYPES[name]
    x, weight, bias = (
        normal(1, 16, 9, 9, dtype=dtype),
        normal(8, 16, 3, 3, dtype=dtype),
        normal(8, dtype=dtype),
    )
    found = one_node("Conv", x.numpy(), weight.numpy(), bias.numpy(), pads=[1, 1, 1, 1])
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    size = F.conv2d(x.double().abs(), weight.double().abs(), bias.double().abs(), padding=1) * (1 + 1e-9)
    allowed = ARITHMETICS[name].products(144, size, operands=largest(x, weight))
    assert (torch.from_numpy(found).double() - exact).abs().le(allowed).all()


@pytest.mark.parametrize("name", ["float32", "float16"])
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_batch_normalizations_of_all_forms(name, folded, shifted):
    """Folded into the weights, as scale and shift, or step by step, each step stored."""
    dtype = DTYPES[name]
    for _ in range(20):
        a, weight, bias = normal(50).to(dtype), normal(30, 50).to(dtype), normal(30).to(dtype)
        mean, scale, shift = (normal(30).to(dtype) for _ in range(3))
        variance = normal(30).abs().to(dtype) + torch.tensor(0.01, dtype=dtype)
        factor = scale.double() / variance.double().sqrt()
        exact = factor * (exact_product(weight, a, bias) - mean.double()) + shift.double()
        size = factor.abs() * (magnitude(weight, a, bias) + mean.double().abs()) + shift.double().abs()
        found = normalized(a, weight, bias, mean, scale, shift, variance, folded=folded, shifted=shifted)
        middle = float(magnitude(weight, a, bias).max())
        operands = max(largest(weight, a, factor), middle)
        allowed = ARITHMETICS[name].products(50, size * (1 + 1e-9), operands=operands, normalized=True)
        assert ((found.double() - exact).abs() <= allowed).all()
        if name == "float32":
            assert (allowed < 1e-5 * size).all()


def normalized(a, weight, bias, mean, scale, shift, variance, *, folded: bool, shifted: bool) -> torch.Tensor:
    factor = scale / variance.sqrt()
    if folded:
        return F.linear(a, weight * factor[:, None], (bias - mean) * factor + shift)
    z = F.linear(a, weight, bias)
    return z * factor + (shift - mean * factor) if shifted else (z - mean) / variance.sqrt() * scale + shift


@FORMATS
def test_sums_and_averages(name):
    dtype, format_ = DTYPES[name], ARITHMETICS[name]
    first, second = normal(1000, dtype=dtype), normal(1000, dtype=dtype)
    off = ((first + second).double() - (first.double() + second.double())).abs()
    assert (off <= format_.rounded(1, first.double().abs() + second.double().abs())).all()
    slope = torch.tensor(0.3, dtype=dtype)
    off = ((first * slope).double() - first.double() * slope.double()).abs()
    assert (off <= format_.rounded(1, first.double().abs() * slope.double())).all()
    image = normal(1, 3, 16, 16, dtype=dtype)
    off = (F.avg_pool2d(image, 4).double() - F.avg_pool2d(image.double(), 4)).abs()
    allowed = format_.products(16, F.avg_pool2d(image.double().abs(), 4), operands=largest(image))
    assert (off <= allowed + 1e-14).all()


def test_numbers_that_count_as_0():
    """Operands and results below the smallest normal number of float32."""
    tiny = 1.1e-38  # a subnormal number
    weight, a = torch.full((1, 4), 50.0), torch.full((4,), tiny)
    assert float(FLOAT32.products(4, magnitude(weight, a, torch.zeros(1)), operands=50.0)) > 200 * tiny
    assert float(FLOAT32.rounded(1, torch.tensor(tiny))) > tiny


@pytest.mark.parametrize("format_", [FLOAT32, FLOAT16, BFLOAT16])
def test_nothing_is_claimed_of_what_overflows(format_):
    beyond, within = (torch.tensor(x * format_.largest, dtype=torch.float64) for x in (1.0, 0.1))
    for found in (
        format_.products(1, beyond, operands=1.0),
        format_.products(1, within, operands=2 * format_.largest),
        format_.rounded(1, beyond),
        format_.products(3 * 2**24, within, operands=1.0),
    ):
        assert found == math.inf
    assert format_.products(1, within, operands=1.0) < math.inf


def test_real_arithmetic_is_exact():
    size = torch.tensor([1e300, math.inf, 0.0])
    for found in (REAL.products(9, size, operands=1.0), REAL.rounded(2, size)):
        assert not found.any()


def test_the_formats_are_those_of_torch():
    for name, dtype in DTYPES.items():
        info = torch.finfo(dtype)
        assert (ARITHMETICS[name].largest, 2 * ARITHMETICS[name].unit) == (info.max, info.eps)
    assert torch.finfo(torch.float32).tiny == arithmetic.SMALLEST_32
