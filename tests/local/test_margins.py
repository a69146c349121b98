"""Margins and radii of networks of the literature, and of many classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from convsv_cli.certification.classifier import classifier_of
from convsv_cli.loaders import load
from convsv_cli.local import QUICK, Problem, margins, radii
from convsv_cli.local.arithmetic import ARITHMETICS
from convsv_cli.local.lowering import lowered
from tests.support.local_nets import Net, own_norms

MEAN, DEVIATION, RADIUS = 0.1307, 0.3081, 1.0


def digits(shared: Path, count: int, arithmetic: str = "real") -> Problem:
    """A network of the literature at samples that it classifies correctly."""
    folder = shared / "models" / "l2-verification"
    data = np.load(folder / "mnist_samples.npz")
    program = lowered(classifier_of(load(folder / "mnist_mlp.onnx")).graph, own_norms())
    x = (torch.from_numpy(data["x"][:count]).double() - MEAN) / DEVIATION
    x = x.reshape(count, *program.shapes[program.source])
    y = torch.from_numpy(data["y"][:count]).long()
    right = program.values(x)[program.output].flatten(1).argmax(1) == y
    return Problem(program=program, x=x[right], classes=y[right], arithmetic=ARITHMETICS[arithmetic])


def test_a_network_of_the_literature(shared: Path) -> None:
    problem = digits(shared, 200)
    radius = torch.full((len(problem.x),), RADIUS / DEVIATION, dtype=torch.float64)
    assert int((margins(problem, radius) > 0).sum()) >= 132


def test_single_precision_costs_little(shared: Path) -> None:
    real, single = (digits(shared, 50, name) for name in ("real", "float32"))
    radius = torch.full((len(real.x),), RADIUS / DEVIATION, dtype=torch.float64)
    counts = [int((margins(each, radius, QUICK) > 0).sum()) for each in (real, single)]
    assert counts[0] - 1 <= counts[1] <= counts[0]


def test_radii_are_where_margins_end(shared: Path) -> None:
    problem = digits(shared, 12)
    found = radii(problem, QUICK)
    assert (margins(problem, found, QUICK) > 0).all()
    assert (margins(problem, 1.05 * found, QUICK) <= 0).any()
    assert float(found.median()) > 0.8 * RADIUS / DEVIATION


def test_progress_tells_what_is_known(shared: Path) -> None:
    told: list[tuple[int, int, float]] = []

    def progress(found: torch.Tensor, ended: torch.Tensor, share: float) -> None:
        told.append((int((found >= 0).sum()), int(ended.sum()), share))

    radii(digits(shared, 6), QUICK, progress)
    shares = [share for *_, share in told]
    assert shares == sorted(shares)
    assert any(known and not ended for known, ended, _ in told), "before a search ends"
    assert told[-1] == (6, 6, 1.0)


def test_a_class_that_is_not_predicted_has_no_radius(shared: Path) -> None:
    problem = digits(shared, 3)
    wrong = Problem(program=problem.program, x=problem.x, classes=(problem.classes + 1) % 10)
    assert radii(wrong, QUICK).tolist() == [0.0] * len(problem.x)


def test_many_classes(tmp_path: Path) -> None:
    net = Net(0, (1, 8))
    net.add("Gemm", "x", net.normal(16, 8), net.normal(16), shape=(1, 16), transB=1)
    net.add("Relu", net.last)
    net.add("Gemm", net.last, net.normal(1000, 16), net.normal(1000), shape=(1, 1000), transB=1)
    program = lowered(net.graph(tmp_path), own_norms())
    x = torch.randn(4, 1, 8, dtype=torch.float64)
    classes = program.values(x)[program.output].flatten(1).argmax(1)
    found = radii(Problem(program=program, x=x, classes=classes), QUICK)
    moves = torch.randn(300, 1, 8, dtype=torch.float64)
    moves = moves / moves.flatten(1).norm(dim=1)[:, None, None]
    for sample, kept, radius in zip(x, classes, found, strict=True):
        assert radius > 0
        predicted = program.values(sample + radius * moves)[program.output].flatten(1).argmax(1)
        assert (predicted == kept).all()


@pytest.mark.parametrize("radius", [0.0, 1e-3])
def test_ties_are_never_certified(radius: float, tmp_path: Path) -> None:
    net = Net(0, (1, 2))
    net.add("MatMul", "x", net.weight(np.eye(2, dtype=np.float32)), shape=(1, 2))
    net.add("Relu", net.last)
    program = lowered(net.graph(tmp_path), own_norms())
    problem = Problem(
        program=program, x=torch.ones(1, 1, 2, dtype=torch.float64), classes=torch.zeros(1, dtype=torch.int64)
    )
    assert float(margins(problem, torch.tensor([radius], dtype=torch.float64))[0]) <= 0


def test_a_radius_within_which_nothing_moves_is_found(tmp_path: Path) -> None:
    """The logits are constant as long as the number is above 1, from 9 down by almost 8."""
    net = Net(0, (1, 1))
    net.add("Clip", "x", net.weight(np.float32(0)), net.weight(np.float32(1)))
    net.add("Max", net.last, net.weight(np.array([[0.5]], np.float32)))
    net.add("Concat", net.weight(np.array([[0.9]], np.float32)), net.last, shape=(1, 2), axis=1)
    program = lowered(net.graph(tmp_path), own_norms())
    problem = Problem(
        program=program,
        x=torch.full((1, 1, 1), 9.0, dtype=torch.float64),
        classes=torch.ones(1, dtype=torch.int64),
    )
    assert 7 <= float(radii(problem, QUICK)) <= 8.1
