"""What is said of the steps of each operator holds of onnxruntime, of Jacobians, and of whole networks."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto

from convsv_cli.lipschitz.scalar.operators import COLLAPSED
from convsv_cli.local.arithmetic import ARITHMETICS, FLOAT32
from convsv_cli.local.backward import improved
from convsv_cli.local.certificate import certified
from convsv_cli.local.choices import first_choices
from convsv_cli.local.lowering import ROWS, lowered
from convsv_cli.local.places import Ball, Place
from convsv_cli.local.propagation import places
from convsv_cli.local.rows import Rows, samples_of
from convsv_cli.local.steps import Affine, NoLocalCertificateError, Program
from tests.support import runtime
from tests.support.local_nets import Net, own_norms, points_in_ball, self_attacked
from tests.support.lowered_operators import ACTIVATIONS, CASES, IMAGE, Case, X, floats, normal, whole
from tests.support.sampling import one_in

DOCUMENTED = Path(__file__).parents[2] / "docs" / "local.md"
ROUGHLY = 2e-3
"""More than what any of these operators is off in single precision, by numbers of about 1."""


def program_of(net: Net, folder: Path) -> Program:
    return lowered(net.graph(folder), own_norms())


def place(program: Program, x: np.ndarray, arithmetic: str = "float32") -> Place:
    """Where runtimes are at a point."""
    at = torch.from_numpy(x).double()[None]
    ball = Ball(x=at, radius=torch.zeros(1, dtype=torch.float64), arithmetic=ARITHMETICS[arithmetic])
    return places(program, ball)[program.output]


def rows_at(program: Program, x: torch.Tensor, radius: float) -> Rows:
    """Differences of two of three logits each, in a ball, in single precision."""
    ball = Ball(x=x, radius=torch.full((1,), radius, dtype=torch.float64), arithmetic=FLOAT32)
    direction = torch.eye(3, dtype=torch.float64) - torch.eye(3, dtype=torch.float64).roll(1, 1)
    samples = samples_of(program, places(program, ball))
    return samples.rows(torch.zeros(3, dtype=torch.int64), direction[:, None])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_runtimes_are_where_they_may_be(case: Case, tmp_path: Path) -> None:
    program = program_of(case.net(), tmp_path)
    x = np.random.default_rng(0).standard_normal(case.shape).astype(np.float32)
    expected = runtime.session(tmp_path / "model.onnx").run(None, {"x": x})[0]
    found = place(program, x)
    assert found.low.shape[1:] == expected.shape
    assert (found.low.numpy() <= expected).all()
    assert (expected <= found.high.numpy()).all()
    assert float((found.high - found.low).max()) < ROUGHLY


@pytest.mark.parametrize("case", one_in(2, [(case,) for case in CASES]), ids=str)
def test_norms_are_those_of_jacobians(case: Case, tmp_path: Path) -> None:
    for step in program_of(case.net(), tmp_path).steps:
        if not isinstance(step, Affine):
            continue
        for map_, norm in zip(step.maps, step.norms, strict=True):
            count, results = math.prod(map_.taken), math.prod(map_.given)
            unit, other = (torch.eye(n, dtype=torch.float64) for n in (count, results))
            dense = map_.forward(unit.reshape(count, *map_.taken)).flatten(1).T
            turned = map_.adjoint(other.reshape(results, *map_.given)).flatten(1)
            assert torch.allclose(dense, turned, rtol=1e-12, atol=1e-14)
            assert torch.allclose(
                map_.absolute.forward(unit.reshape(count, *map_.taken)).flatten(1).T, dense.abs()
            )
            exact = float(torch.linalg.matrix_norm(dense, 2))
            assert exact * (1 - 1e-12) <= norm


@pytest.mark.parametrize("case", one_in(3, [(case,) for case in CASES]), ids=str)
def test_nothing_in_the_ball_is_below_the_bound(case: Case, tmp_path: Path) -> None:
    net = self_attacked(case.classifier(tmp_path), tmp_path)
    x, radius = torch.randn(1, *case.shape, generator=torch.Generator().manual_seed(0)).double(), 0.3
    rows = rows_at(net.program, x, radius)
    values = net.program.values(points_in_ball(x, radius, 200))[net.program.output].flatten(1)
    least = (values @ rows.direction[:, 0].T).amin(0).minimum(net.lowest(rows.direction, x, radius))
    bound = certified(rows, improved(rows, first_choices(rows), 10)[0])
    assert (bound <= least).all()
    assert bound.isfinite().all()


@pytest.mark.parametrize("case", one_in(2, [(case,) for case in ACTIVATIONS]), ids=str)
def test_nothing_that_is_searched_for_is_below_the_bound(case: Case, tmp_path: Path) -> None:
    program = program_of(case.classifier(tmp_path), tmp_path)
    x, radius = torch.randn(1, *case.shape, generator=torch.Generator().manual_seed(1)).double(), 0.8
    rows = rows_at(program, x, radius)
    bound = certified(rows, improved(rows, first_choices(rows), 10)[0])
    for direction, below in zip(rows.direction, bound, strict=True):
        at = points_in_ball(x, radius, 200)
        for turn in range(6):
            values = (program.values(at)[program.output] * direction).flatten(1).sum(1)
            assert (below <= values).all()
            best = at[values.argsort()[:20]].repeat(10, *(1 for _ in x.shape[1:]))
            moved = best - x + points_in_ball(torch.zeros_like(x), 0.5**turn * radius, 200, turn)
            size = moved.flatten(1).norm(dim=1).clamp_min(radius)[:, None, None]
            at = x + moved * (radius / size) * (1 - 1e-12)
    assert bound.isfinite().all()


REFUSED = {
    "two of its updates go to one place": Case(
        op="ScatterND", inputs=(X, whole([0, 1], [0, 1]), normal(2, 4, 6))
    ),
    "it combines what meets at a place": Case(
        op="ScatterND", inputs=(X, whole([0, 1]), normal(1, 4, 6)), attributes={"reduction": "add"}
    ),
    "it is in training mode": Case(op="Dropout", inputs=(X, np.array(0.5, np.float32), np.array(True))),
    "rounding decides which of two entries is nearest": Case(
        op="Resize",
        shape=(1, 1, 10),
        inputs=(X, None, floats(1, 1, 0.6)),
        attributes={"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "there are no linear bounds of a crop": Case(
        op="Resize",
        inputs=(X, floats(0, 0, 0, 0, 1, 1, 0.5, 0.5), floats(1, 1, 2, 2)),
        attributes={"coordinate_transformation_mode": "tf_crop_and_resize"},
    ),
    "there are no linear bounds of antialiasing": Case(
        op="Resize", inputs=(X, None, floats(1, 1, 0.5, 0.5)), attributes={"mode": "linear", "antialias": 1}
    ),
    "one of its windows is empty": Case(
        op="AveragePool",
        shape=(1, 2, 5, 4),
        attributes={"kernel_shape": [1, 2], "dilations": [1, 5], "pads": [0, 1, 0, 1]},
    ),
    "where entries go depends on the network's input": Case(
        op="Where", inputs=(X, normal(1), normal(6)), shape=IMAGE
    ),
    "its constant alone": Case(
        op="Einsum", inputs=(X, normal(6, 3)), attributes={"equation": "abij,jk->abi"}
    ),
    "it makes a number without axes": Case(op="ReduceSum", attributes={"keepdims": 0}),
    "numbers of a kind that are not real": Case(op="Cast", attributes={"to": TensorProto.INT64}),
    "no linear bounds of this operator": Case(op="InstanceNormalization", inputs=(X, normal(4), normal(4))),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_bounds_says_so(reason: str, tmp_path: Path) -> None:
    case = REFUSED[reason]
    with pytest.raises(NoLocalCertificateError, match=f"because {case.op} .*{re.escape(reason)}"):
        program_of(case.net(), tmp_path)


@pytest.mark.parametrize(
    ("to", "arithmetic"),
    [(TensorProto.FLOAT16, "float16"), (TensorProto.FLOAT, "float32"), (TensorProto.DOUBLE, "bfloat16")],
)
def test_casts_and_inputs_round_once_each(to: int, arithmetic: str, tmp_path: Path) -> None:
    net = Case(op="Cast", attributes={"to": to}).net()
    net.add("Cast", net.last, to=TensorProto.FLOAT, shape=())
    x = np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)
    found = place(program_of(net, tmp_path), x, arithmetic)
    (expected,) = runtime.session(tmp_path / "model.onnx").run(None, {"x": x})
    assert (found.low.numpy() <= expected).all()
    assert (expected <= found.high.numpy()).all()
    twice = 2.1 * ARITHMETICS[arithmetic].unit  # as the format's input, and as cast
    assert (found.high - found.centre <= twice * found.centre.abs() + 1e-6).all()


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_nothing_is_claimed_beyond_a_cast_to_less(arithmetic: str, tmp_path: Path) -> None:
    net = Case(op="Cast", attributes={"to": TensorProto.FLOAT16}).net()
    found = place(program_of(net, tmp_path), np.ones(IMAGE, np.float32), arithmetic)
    assert found.high.isinf().all()


def test_all_operators_are_documented() -> None:
    _, _, text = DOCUMENTED.read_text().partition("## Operators")
    listed = re.findall(r"`(\w+)`", text.partition("\n## ")[0])
    assert sorted(listed) == sorted(ROWS.keys() - {COLLAPSED})
