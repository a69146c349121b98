"""What the bounds of functions are that are written out in primitives, beside their true constants.

    python benchmarks/written_out.py [--only PATTERN,..] [--opsets 11,13,17,18,20,23]
        [--optimised] [--aside] [--torch]

Prints pattern, spelling and opset -> true constant, bound and their ratio. With `--optimised`, also of what
onnxruntime's optimiser makes of each; with `--aside`, also with a second consumer of each part of it: whether
it is positive (`sign`: the constant is the same), and of functions of each number, 0.1 tanh of it (`tanh`).
With `--torch`, of what torch's exporters write instead. A bound below the truth is marked UNSOUND, and a
spelling that computes something else WRONG.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from onnx import ModelProto, TensorProto  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.written_patterns import NORMS, PATTERNS, Pattern  # noqa: E402
from benchmarks.written_scalars import SCALARS, Function  # noqa: E402
from benchmarks.written_terms import Sheet, Spelling, Term, UnavailableError  # noqa: E402
from benchmarks.written_torch import NEWEST, OLDEST, SPELLINGS, exported  # noqa: E402
from benchmarks.zoo_export import EXPORTERS, bound_of, opset_of  # noqa: E402

OPSETS = (11, 13, 17, 18, 20, 23)
GRID, REACH, FINE = 200_001, 30.0, 1e-9
SAMPLES, STEPS, RATE = 200, 60, 0.05
ROUNDING = 1e-6
LEVELS = {"basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED"}


def steepest_slope(function: Function) -> float:
    """The supremum of |f'| of a function of one number: on a grid, then around its best point."""
    x = torch.linspace(-REACH, REACH, GRID, dtype=torch.float64)
    width = 2 * REACH / (GRID - 1)
    best = 0.0
    while width > FINE:
        slopes = _slopes(function, x)
        place = x[slopes.argmax()]
        best = max(best, float(slopes.max()))
        x = torch.linspace(float(place - width), float(place + width), 101, dtype=torch.float64)
        width /= 50
    return best


def _slopes(function: Function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(function(x).sum(), x)
    return slopes.abs()


def jacobian_norm(function: Function, x: Tensor) -> Tensor:
    """At one point."""
    matrix = torch.func.jacrev(lambda z: function(z).flatten())(x)
    return torch.linalg.matrix_norm(matrix.reshape(matrix.shape[0], -1), 2)


def highest_found(pattern: Pattern) -> float:
    """The largest Jacobian norm of random points of many sizes, and of the best after some steps uphill."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(SAMPLES, *pattern.shape, generator=generator, dtype=torch.float64)
    points *= 10 ** (8 * torch.rand(SAMPLES, *[1] * len(pattern.shape), generator=generator) - 6)
    norms = torch.stack([jacobian_norm(pattern.function, x) for x in points]).nan_to_num(0)
    x, best = points[norms.argmax()], float(norms.max())
    for _ in range(STEPS):
        x = x.detach().requires_grad_()
        norm = jacobian_norm(pattern.function, x)
        (uphill,) = torch.autograd.grad(norm, x)
        best = max(best, float(norm.detach().nan_to_num(0)))
        uphill = uphill.nan_to_num(0)
        x = x.detach() + RATE * x.detach().norm() * uphill / uphill.norm().clamp_min(1e-300)
    return best


def true_constant(name: str) -> float:
    """Of a pattern."""
    pattern = PATTERNS[name]
    if name in SCALARS:
        return steepest_slope(pattern.function)
    return float(jacobian_norm(pattern.function, pattern.peak))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A spelling at an opset, and what there is beside it."""

    name: str
    spelling: str
    opset: int
    variant: str = ""

    @property
    def pattern(self) -> Pattern:
        """Which one."""
        return PATTERNS[self.name]


def written(build: Spelling, opset: int, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> ModelProto:
    """The model.

    Raises:
        UnavailableError: the opset lacks one of its operators.
    """
    sheet = Sheet(opset, kind)
    return sheet.model(build(sheet.source()), shape)


def with_asides(
    build: Spelling, opset: int, pattern: Pattern, *, tanh: bool
) -> Iterator[tuple[str, ModelProto]]:
    """The model with a second consumer of each of its parts in turn, by what it is."""
    count = len(_sheet(build, opset)[0].nodes)
    for i in range(count - 1):
        sheet, result = _sheet(build, opset)
        node = sheet.nodes[i]
        if node.op_type in ("Less", "Greater", "Not", "GreaterOrEqual"):
            continue
        part = Term(sheet, node.output[0])
        if node.op_type == "Cast" and node.attribute[0].i != sheet.kind:
            part = part.cast()
        yield f"sign {i} {node.op_type}", sheet.model(result, pattern.shape, part > 0.0)
        if tanh:
            sheet, result = _sheet(build, opset)
            aside = Term(sheet, node.output[0]).cast()("Tanh") * 0.1
            yield f"tanh {i} {node.op_type}", sheet.model(result, pattern.shape, aside)


def _sheet(build: Spelling, opset: int) -> tuple[Sheet, Term]:
    sheet = Sheet(opset)
    return sheet, build(sheet.source())


def optimised(model: ModelProto, level: str, folder: Path) -> ModelProto:
    """What onnxruntime's optimiser makes of it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def deviation(model: ModelProto, pattern: Pattern) -> float:
    """Of what onnxruntime computes from what torch does, relative to the largest entry."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = 4 * np.random.default_rng(0).standard_normal(pattern.shape)
    y, *_ = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})
    expected = pattern.function(torch.from_numpy(x)).numpy().reshape(y.shape)
    return float(np.abs(y - expected).max() / np.abs(expected).max())


def figures(model: ModelProto, folder: Path) -> tuple[float, str]:
    """The bound, and what stands in the way."""
    onnx.save(model, folder / "written.onnx")
    bound = bound_of(folder / "written.onnx")
    if isinstance(bound, str):
        return math.inf, bound
    return bound.lipschitz, "; ".join(f"{each.op}: {each.reason}" for each in bound.obstacles) or bound.reason


def variants(case: Case, folder: Path, *, optimise: bool, aside: bool) -> Iterator[tuple[Case, ModelProto]]:
    """A case as it is, and as it is asked for beside that; nothing where its opset lacks an operator."""
    build, pattern = case.pattern.spellings[case.spelling], case.pattern
    try:
        model = written(build, case.opset, pattern.shape)
    except UnavailableError:
        return
    yield case, model
    if optimise:
        for level in LEVELS:
            yield replace(case, variant=level), optimised(model, level, folder)
    if aside:
        for what, other in with_asides(build, case.opset, pattern, tanh=case.name in SCALARS):
            yield replace(case, variant=what), other


def report(case: Case, model: ModelProto, truth: float, folder: Path) -> None:
    """Print one row."""
    bound, obstacle = figures(model, folder)
    marks = ["UNSOUND"] if bound < truth * (1 - ROUNDING) else []
    try:
        marks += ["WRONG"] if deviation(model, case.pattern) > 1e-3 else []
    except Exception as error:  # noqa: BLE001
        marks.append(f"(not run: {type(error).__name__})")
    ratio = f"{bound / truth:8.4f}" if math.isfinite(bound) else "       -"
    note = " ".join([*marks, obstacle])
    row = f"{case.name:14} {case.spelling:20} {case.opset:3} {case.variant:16}"
    print(f"{row} {truth:12.6g} {bound:12.6g} {ratio} {note}".rstrip(), flush=True)


def by_torch(name: str, opsets: list[int], folder: Path) -> Iterator[tuple[Case, ModelProto]]:
    """What its exporters write of the spellings in torch."""
    path, done = folder / "torch.onnx", set[tuple[str, str, int]]()
    for spelling, (exporter, dynamo), opset in product(SPELLINGS.get(name, ()), EXPORTERS.items(), opsets):
        if opset < OLDEST[dynamo] or opset > NEWEST[dynamo]:
            continue
        reason = exported(name, spelling, path, PATTERNS[name].shape, dynamo=dynamo, opset=opset)
        key = (spelling, exporter, opset if reason else opset_of(path))
        if reason:
            print(f"{name:14} {spelling:20} {opset:3} {exporter:16} not exported: {reason}")
        elif key not in done:
            yield Case(name=name, spelling=spelling, opset=key[2], variant=exporter), onnx.load(path)
        done.add(key)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(PATTERNS), help="names of patterns")
    parser.add_argument("--opsets", default=",".join(map(str, OPSETS)))
    parser.add_argument("--optimised", action="store_true", help="also by onnxruntime's optimiser")
    parser.add_argument("--aside", action="store_true", help="also with second consumers")
    parser.add_argument("--torch", action="store_true", help="those that torch's exporters write, instead")
    arguments = parser.parse_args()
    names, opsets = arguments.only.split(","), [int(each) for each in arguments.opsets.split(",")]
    truths = {name: true_constant(name) for name in names}
    for name in names:
        if name in NORMS and (found := highest_found(NORMS[name])) > truths[name] * (1 + ROUNDING):
            print(f"{name}: a larger slope than {truths[name]:.6g} was found: {found:.6g}")
    print(f"{'pattern':14} {'spelling':20} opset {'variant':14} {'truth':>12} {'bound':>12}    ratio")
    asked = {"optimise": arguments.optimised, "aside": arguments.aside}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in names:
            spellings = product(PATTERNS[name].spellings, opsets)
            cases = (Case(name=name, spelling=spelling, opset=opset) for spelling, opset in spellings)
            found = chain.from_iterable(variants(case, folder, **asked) for case in cases)
            for case, model in by_torch(name, opsets, folder) if arguments.torch else found:
                report(case, model, truths[name], folder)


if __name__ == "__main__":
    main()
