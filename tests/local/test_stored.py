"""Inputs, weights and constants are what formats make of them: rounded, and some are lost."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli.local import Problem, margins
from convsv_cli.local.arithmetic import ARITHMETICS, Arithmetic
from convsv_cli.local.disturbances import disturbance
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball, Place
from convsv_cli.local.propagation import places
from convsv_cli.local.steps import Program
from tests.support.local_nets import Net, own_norms, points_in_ball

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
FORMATS = pytest.mark.parametrize("name", DTYPES)
SHAPE = (1, 4, 3, 3)
F = torch.nn.functional


def program_of(net: Net, folder: Path) -> Program:
    return lowered(net.graph(folder), own_norms())


def kept(program: Program, x: list[float], radius: float, format_: Arithmetic) -> bool:
    """Whether the class at a sample is proven to stay."""
    at = torch.tensor(x, dtype=torch.float64).reshape(1, *program.shapes[program.source])
    classes = program.values(at)[program.output].flatten(1).argmax(1)
    problem = Problem(program=program, x=at, classes=classes, arithmetic=format_)
    return bool(margins(problem, torch.tensor([radius], dtype=torch.float64)) > 0)


def array(*values: float, dtype: type = np.float32) -> np.ndarray:
    return np.array([values], dtype)


def gemm(net: Net) -> None:
    """3e4 (4 x 2.5e-8) against 5e-4."""
    bias = net.weight(array(0, 5e-4)[0])
    net.add("Gemm", "x", net.weight(np.array([[2.5e-8, 0]] * 4, np.float32)), bias, shape=(1, 2))


def factored(net: Net) -> None:
    """1e30 (4 x 1e-40) 1e4 against 1e-7."""
    weight = np.array([[1e-40, 0]] * 4, np.float32)
    net.add("Gemm", "x", net.weight(weight), net.weight(array(0, 1e-7)[0]), shape=(1, 2), alpha=1e30)


def operated(op: str, *constant: float) -> object:
    return lambda net: net.add(op, "x", net.weight(array(*constant)))


SINKING = {
    "weights": ("float16", gemm, [3e4] * 4, torch.tensor(2.5e-8)),
    "weights before a factor": ("float32", factored, [1e4] * 4, torch.tensor(1e-40)),
    "a factor": ("float16", operated("Mul", 2.5e-8, 1.0), [3e4, 5e-4], torch.tensor(2.5e-8)),
    "a subnormal factor": ("float32", operated("Mul", 1e-39, 1.0), [1e37, 5e-3], torch.tensor(1e-39)),
    "a subnormal divisor": ("float32", operated("Div", 1e-39, 1.0), [1e-5, 5e33], torch.tensor(1e-39)),
    "a subnormal reciprocal": ("float32", operated("Div", 3e38, 1.0), [1e38, 0.2], 1 / torch.tensor(3e38)),
    "a divisor": ("float16", operated("Div", 1e-8, 1.0), [5e-6, 100.0], torch.tensor(1e-8)),
    "a slope": ("float16", operated("PRelu", 2.5e-8, 1.0), [-6e4, -1e-3], torch.tensor(2.5e-8)),
}


@pytest.mark.parametrize("case", SINKING)
def test_constants_that_may_count_as_0_are_not_relied_on(case: str, tmp_path: Path) -> None:
    name, build, x, constant = SINKING[case]
    net = Net(0, (1, len(x)))
    build(net)
    program, format_ = program_of(net, tmp_path), ARITHMETICS[name]
    assert kept(program, x, 1e-12, ARITHMETICS["real"])
    assert constant.to(DTYPES[name]) == 0 or abs(constant) < format_.smallest
    assert not kept(program, x, 1e-12, format_)


def test_a_constant_that_overflows_is_not_relied_on(tmp_path: Path) -> None:
    for op, constant in (("Mul", 1e5), ("Div", 1e5), ("Add", 1e5)):
        net = Net(0, (1, 2))
        net.add(op, "x", net.weight(array(constant, 1.0)))
        program = program_of(net, tmp_path)
        assert kept(program, [1e-3, 0.0], 1e-12, ARITHMETICS["bfloat16"])
        assert not kept(program, [1e-3, 0.0], 1e-12, ARITHMETICS["float16"])


@pytest.mark.parametrize(("name", "x"), [("bfloat16", [0.3, 0.3005]), ("float16", [0.3, 0.30001])])
def test_inputs_that_one_number_of_the_format_stands_for(name: str, x: list[float], tmp_path: Path) -> None:
    first, second = torch.tensor(x).to(DTYPES[name])
    assert first == second, "a tie, there"
    net = Net(0, (1, 2))
    net.add("Relu", "x")
    program = program_of(net, tmp_path)
    assert kept(program, x, 1e-9, ARITHMETICS["real"])
    assert not kept(program, x, 1e-9, ARITHMETICS[name])


@FORMATS
def test_what_the_input_loses_counts_in_differences_of_logits(name: str, tmp_path: Path) -> None:
    """In those of a linear network, almost exactly."""
    net = Net(0, (1, 3))
    net.add("MatMul", "x", net.weight(np.array([[4, 0], [0, 4], [0, 0]], np.float32)), shape=(1, 2))
    program = program_of(net, tmp_path)
    x = torch.tensor([[[0.3, 0.7, 0.1]]], dtype=torch.float64)
    direction = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
    ball = Ball(x=x, radius=torch.zeros(1, dtype=torch.float64), arithmetic=ARITHMETICS[name])
    found = places(program, ball)
    off = (program.values(x.to(DTYPES[name]).double() - x)[program.output] * direction).sum().abs()
    without = replace(found[program.source], off=None)
    inputs = [
        float(disturbance(program, each, torch.tensor([0]), direction))
        for each in (found, {**found, program.source: without})
    ]
    assert inputs[0] - inputs[1] >= float(off) > 0
    assert inputs[0] - inputs[1] <= ARITHMETICS[name].unit * 4.0 * 1.01


def constant(net: Net, scale: float) -> np.ndarray:
    """One per channel."""
    return (scale * net.rng.standard_normal((4, 1, 1))).astype(np.float32)


def one_of(op: str, net: Net, scale: float) -> tuple[np.ndarray, ...]:
    """Add a node with constants of a scale; those constants."""
    if op == "Clip":
        given = tuple(np.sort(constant(net, scale)[:2, 0, 0]))
        net.add(op, "x", *(net.weight(np.asarray(each)) for each in given))
        return given
    given = (constant(net, scale),)
    if op == "Concat":
        given = (np.broadcast_to(given[0], SHAPE).copy(),)
        net.add(op, "x", net.weight(given[0]), shape=(1, 8, 3, 3), axis=1)
    elif op == "Conv":
        given = ((scale * net.rng.standard_normal((2, 4, 3, 3))).astype(np.float32),)
        net.add(op, "x", net.weight(given[0]), shape=(1, 2, 1, 1))
    else:
        net.add(op, "x", net.weight(given[0]))
    return given


TORCH = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "PRelu": lambda x, slope: torch.where(x < 0, x * slope, x),
    "Clip": torch.clamp,
    "Concat": lambda x, c: torch.cat((x, c.expand(len(x), *SHAPE[1:])), 1),
    "Conv": lambda x, k: F.conv2d(x.float(), k.float()).to(x.dtype),
}


def inside(values: torch.Tensor, place: Place) -> bool:
    """Whether a box and a ball hold [n, *shape]."""
    low, high = place.low.reshape(-1), place.high.reshape(-1)
    flat = values.double().flatten(1)
    far = (flat - place.centre.flatten(1)).norm(dim=1)
    return bool(((flat >= low) & (flat <= high)).all()) and bool((far <= place.radius * (1 + 1e-12)).all())


@FORMATS
@pytest.mark.parametrize("op", TORCH)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-7])
def test_constants_as_the_format_has_them(op: str, name: str, scale: float, tmp_path: Path) -> None:
    """Operators of torch in the format, with constants that are rounded to it, at inputs that are rounded."""
    net = Net(0, SHAPE)
    constants = one_of(op, net, scale)
    program, dtype = program_of(net, tmp_path), DTYPES[name]
    for size in (1.0, 1000.0):
        x = size * torch.randn(1, *SHAPE, dtype=torch.float64)
        found = places(program, Ball(x=x, radius=torch.tensor([0.1]).double(), arithmetic=ARITHMETICS[name]))
        points = points_in_ball(x, 0.1, 20).to(dtype)
        assert inside(points, found[program.source])
        values = TORCH[op](points[:, 0], *(torch.as_tensor(each).to(dtype) for each in constants))
        assert inside(values, found[program.output])


def test_without_what_is_stored_some_would_be_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: constants as they are in the file."""
    monkeypatch.setattr(Arithmetic, "stored", lambda _self, values: torch.zeros_like(values))
    for op in ("Clip", "Max", "Min", "Concat"):
        with pytest.raises(AssertionError):
            test_constants_as_the_format_has_them(op, "bfloat16", 1.0, tmp_path)


def test_a_level_of_the_format_costs_nothing(tmp_path: Path) -> None:
    net = Net(0, (1, 2))
    net.add("Clip", "x", net.weight(np.float32(0)), net.weight(np.float32(6)))
    program = program_of(net, tmp_path)
    ball = Ball(
        x=torch.ones(1, 1, 2).double(), radius=torch.ones(1).double(), arithmetic=ARITHMETICS["bfloat16"]
    )
    assert not places(program, ball)[program.output].off.any()


def folded(op: str, folder: Path) -> Program:
    """A convolution, of which one sees little behind it, as its channels are scaled down."""
    net = Net(0, (1, 64, 1, 1))
    net.add("Conv", "x", net.weight(np.full((2, 64, 1, 1), 2e-3, np.float32)), shape=(1, 2, 1, 1))
    one = np.ones(2, np.float32)
    if op == "Mul":
        net.add("Mul", "t0", net.weight(np.full((2, 1, 1), 1e-5, np.float32)))
    else:
        scale, zero = net.weight(1e-5 * one), net.weight(0 * one)
        net.add("BatchNormalization", "t0", scale, zero, zero, net.weight(one), epsilon=0.0)
    return program_of(net, folder)


@pytest.mark.parametrize("op", ["Mul", "BatchNormalization"])
def test_weights_that_factors_are_folded_into(op: str, tmp_path: Path) -> None:
    """2e-3 x 1e-5 is 0 in float16; the sum of 64 times 1000 of them is not."""
    program = folded(op, tmp_path)
    x = torch.full((1, 1, 64, 1, 1), 1000.0, dtype=torch.float64)
    ball = Ball(x=x, radius=torch.zeros(1, dtype=torch.float64), arithmetic=ARITHMETICS["float16"])
    weight = torch.full((64,), 2e-3 * 1e-5).half()
    assert inside((weight * x.flatten().half()).sum().expand(1, 2), places(program, ball)[program.output])


def test_a_variance_that_loses_digits(tmp_path: Path) -> None:
    """3e-7 is stored as 2.98e-7 in float16, and 1e-8 as 0."""
    for variance, claimed in ((3e-7, True), (1e-8, False)):
        net = Net(0, (1, 1, 2, 2))
        one, v = net.weight(np.ones(1, np.float32)), net.weight(np.array([variance], np.float32))
        zero = net.weight(np.zeros(1, np.float32))
        net.add("BatchNormalization", "x", one, zero, zero, v, epsilon=0.0)
        x = torch.full((1, 1, 1, 2, 2), 2.0**-6, dtype=torch.float64)
        ball = Ball(x=x, radius=torch.zeros(1, dtype=torch.float64), arithmetic=ARITHMETICS["float16"])
        program = program_of(net, tmp_path)
        place = places(program, ball)[program.output]
        stored = torch.tensor(variance).half().double()
        assert inside(x[0] / stored.sqrt(), place) or not claimed
        assert bool(place.radius.isfinite()) == claimed


def softplus(folder: Path) -> Program:
    """As exporters spell it, and as an operator: [1, 2] each, one after the other."""
    net = Net(0, (1, 2))
    net.add("Exp", "x")
    net.add("Add", "t0", net.weight(np.float32(1)))
    net.add("Log", "t1")
    return program_of(net, folder)


@pytest.mark.parametrize(("name", "fits", "overflows"), [("float32", 80.0, 88.6), ("float16", 10.0, 11.0)])
def test_softplus_in_steps_overflows(name: str, fits: float, overflows: float, tmp_path: Path) -> None:
    def off(program: Program, at: float) -> float:
        x = torch.full((1, 1, 2), at, dtype=torch.float64)
        ball = Ball(x=x, radius=torch.full((1,), 0.2, dtype=torch.float64), arithmetic=ARITHMETICS[name])
        return float(places(program, ball)[program.output].radius)

    spelled = softplus(tmp_path)
    assert torch.tensor(overflows + 0.2, dtype=DTYPES[name]).exp().isinf()
    assert off(spelled, overflows) == math.inf
    assert off(spelled, fits) < 1
    net = Net(0, (1, 2))
    net.add("Softplus", "x")
    assert off(program_of(net, tmp_path), overflows) < 1
