"""Whole networks as runtimes execute them: boxes and balls hold, and classes stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from convsv_cli.local import QUICK, Problem, margins
from convsv_cli.local.arithmetic import ARITHMETICS, FLOAT32, Arithmetic
from convsv_cli.local.lowering import lowered
from convsv_cli.local.places import Ball, Place
from convsv_cli.local.propagation import places
from convsv_cli.local.steps import Affine, Program
from tests.support import runtime
from tests.support.local_nets import Net, own_norms, random_net

NETS = range(25)
SCALES = (1.0, 1.0, 1e-3, 1e3, 1e-18)
REAL = ARITHMETICS["real"]
Values = dict[str, np.ndarray]


def drawn(seed: int, folder: Path) -> tuple[Program, np.ndarray]:
    """A network, some weights of which are of another size, as an ONNX file, and an input in float32."""
    net, rng = random_net(seed), np.random.default_rng(seed)
    scale = np.float32(rng.choice(SCALES))
    for name, values in net.weights.items():
        if values.dtype == np.float32 and values.ndim and rng.random() < 0.5:
            net.weights[name] = (values * scale).astype(np.float32)
    program = lowered(net.graph(folder), own_norms())
    size = rng.choice([1.0, 100.0, 1e-4])
    return program, (size * rng.standard_normal(net.shapes["x"])).astype(np.float32)


def inside(values: Values, found: dict[str, Place]) -> bool:
    """Whether boxes and balls hold all tensors that are computed; there must be some."""
    known = [name for name in values if name in found]
    return bool(known) and all(_held(values[name], found[name]) for name in known)


def _held(value: np.ndarray, place: Place) -> bool:
    at = torch.from_numpy(value.astype(np.float64)).reshape(place.centre.shape)
    far = (at - place.centre).flatten(1).norm(dim=1)
    return bool(((at >= place.low) & (at <= place.high)).all()) and bool((far <= place.radius).all())


def at_one_point(program: Program, x: np.ndarray, arithmetic: Arithmetic = FLOAT32) -> dict[str, Place]:
    ball = Ball(
        x=torch.from_numpy(x.astype(np.float64))[None],
        radius=torch.zeros(1, dtype=torch.float64),
        arithmetic=arithmetic,
    )
    return places(program, ball)


def by_onnxruntime(path: Path, x: np.ndarray) -> Iterator[Values]:
    """As it is, with all tensors between nodes, and rewritten for speed, where only the output is left."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    last = [output.name for output in model.graph.output]
    rewritten = runtime.session(model)
    yield dict(zip(last, rewritten.run(last, {"x": x}), strict=True))
    model.graph.output.extend(model.graph.value_info)
    names = [output.name for output in model.graph.output]
    plain: onnxruntime.InferenceSession = runtime.session(model, rewritten=False)
    yield dict(zip(names, plain.run(names, {"x": x}), strict=True))


def by_torch(program: Program, x: np.ndarray) -> Values:
    values = program.to(torch.float32).values(torch.from_numpy(x)[None])
    return {name: value.numpy() for name, value in values.items()}


def shuffled(program: Program, x: np.ndarray, rng: np.random.Generator) -> Values:
    """In float32, where each entry's terms are added one by one, in an order of its own."""
    found = {program.source: x[None]}
    for step in program.to(torch.float32).steps:
        if not isinstance(step, Affine):
            found[step.output] = step.value(torch.from_numpy(found[step.input])).numpy()
            continue
        terms = [_terms(step, i, found[name]) for i, name in enumerate(step.inputs)]
        shape = (1, *step.maps[0].given)
        if step.shift is not None:
            terms.append(step.shift.float().expand(shape).reshape(1, -1).numpy())
        table = rng.permuted(np.concatenate(terms), axis=0)
        found[step.output] = np.add.accumulate(table, axis=0, dtype=np.float32)[-1].reshape(shape)
    return found


def _terms(step: Affine, index: int, value: np.ndarray) -> np.ndarray:
    """What each entry of an input adds to each of the output: float32 [entries, entries]."""
    map_, count = step.maps[index], value.size
    matrix = map_.forward(torch.eye(count).reshape(count, *map_.taken)).reshape(count, -1)
    return (torch.from_numpy(value).reshape(-1, 1) * matrix).numpy()


@pytest.mark.parametrize("seed", NETS)
def test_no_runtime_leaves_the_places(seed: int, tmp_path: Path) -> None:
    program, x = drawn(seed, tmp_path)
    found = at_one_point(program, x)
    runs = [*by_onnxruntime(tmp_path / "model.onnx", x), by_torch(program, x)]
    runs += [shuffled(program, x, np.random.default_rng(i)) for i in range(5)]
    assert all(inside(values, found) for values in runs)


def test_some_leave_the_places_of_real_arithmetic(tmp_path: Path) -> None:
    """So that the test above sees whatever is not counted."""
    outside = 0
    for seed in range(5):
        program, x = drawn(seed, tmp_path)
        outside += not inside(shuffled(program, x, np.random.default_rng(0)), at_one_point(program, x, REAL))
    assert outside == 5


TERMS = 5000


def long_sum(folder: Path) -> Program:
    """z_0 is the sum of all entries, and z_1 is 1 + TERMS / 2 units."""
    net = Net(0, (1, TERMS))
    weight = np.stack([np.ones(TERMS), np.zeros(TERMS)], 1).astype(np.float32)
    bias = np.array([0, 1 + TERMS * 2.0**-25], np.float32)
    net.add("Gemm", "x", net.weight(weight), net.weight(bias), shape=(1, 2))
    return lowered(net.graph(folder), own_norms())


def test_an_order_of_summation_may_change_the_class(tmp_path: Path) -> None:
    """1 + 2^-24 + .. + 2^-24: each term vanishes beside 1, but not where they are added up first."""
    program = long_sum(tmp_path)
    x = np.full(TERMS, 2.0**-24, np.float32)
    x[0] = 1
    rival = np.float32(1 + TERMS * 2.0**-25)
    assert np.add.accumulate(x)[-1] < rival < np.add.accumulate(x[::-1])[-1]
    at = torch.from_numpy(x.astype(np.float64)).reshape(1, 1, -1)
    classes = program.values(at)[program.output].flatten(1).argmax(1)
    assert classes == 0
    proven = {}
    for arithmetic in (REAL, FLOAT32):
        problem = Problem(program=program, x=at, classes=classes, arithmetic=arithmetic)
        proven[arithmetic.name] = bool(margins(problem, torch.tensor([1e-7], dtype=torch.float64)) > 0)
    assert proven == {"real": True, "float32": False}


def close(seed: int, folder: Path) -> tuple[Program, np.ndarray]:
    """Two sums of the same terms, of which one has a bias as small as rounding; an input."""
    net = Net(seed, (1, 30))
    sizes = 10 ** net.rng.standard_normal((30, 1))
    weight = np.repeat(sizes * net.rng.standard_normal((30, 1)), 2, axis=1).astype(np.float32)
    bias = np.array([0, 10.0 ** net.rng.uniform(-7, -2)], np.float32)
    net.add("Relu", "x")
    net.add("Gemm", "t0", net.weight(weight), net.weight(bias), shape=(1, 2))
    return lowered(net.graph(folder), own_norms()), net.rng.random((1, 30)).astype(np.float32)


def test_what_is_certified_holds_in_all_orders(tmp_path: Path) -> None:
    seen = set()
    for seed in range(15):
        program, x = close(seed, tmp_path)
        runs = [shuffled(program, x, np.random.default_rng(i))[program.output].ravel() for i in range(20)]
        same = all(run.argmax() == 1 for run in runs)
        at = torch.from_numpy(x.astype(np.float64))[None]
        problem = Problem(program=program, x=at, classes=torch.tensor([1]), arithmetic=FLOAT32)
        kept = bool(margins(problem, torch.zeros(1, dtype=torch.float64), QUICK) > 0)
        assert same or not kept
        seen.add((kept, same))
    assert {(True, True), (False, False)} <= seen
