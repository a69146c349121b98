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

from benchmarks.written_patterns import NORMS, PATTERNS, Pattern  # noqa: E402
from benchmarks.written_scalars import SCALARS  # noqa: E402
from benchmarks.written_terms import Sheet, Term, UnavailableError  # noqa: E402
from benchmarks.written_torch import NEWEST, OLDEST, SPELLINGS, exported  # noqa: E402
from benchmarks.written_truths import highest_found, joint_slope, true_constant  # noqa: E402
from benchmarks.zoo_export import EXPORTERS, bound_of, opset_of  # noqa: E402

OPSETS = (11, 13, 17, 18, 20, 23)
ROUNDING = 1e-6
LINE = 40_001
SWITCHES = ("Less", "Greater", "GreaterOrEqual", "Not")
LEVELS = {"basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED"}


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


Row = tuple[Case, ModelProto, float]
"""With the model's true constant."""


def with_asides(case: Case) -> Iterator[Row]:
    """With a second consumer of each of its parts in turn: the model, and its constant."""
    build, shape = case.pattern.spellings[case.spelling], case.pattern.shape
    for i, node in enumerate(Sheet.of(build, case.opset)[0].nodes[:-1]):
        if node.op_type in SWITCHES:
            continue
        sheet, result = Sheet.of(build, case.opset)
        aside = Term(sheet, node.output[0]).cast() > 0.0
        named = replace(case, variant=f"sign {i} {node.op_type}")
        yield named, sheet.model(result, shape, aside), true_constant(case.name)
        if case.name in SCALARS:
            yield replace(case, variant=f"tanh {i} {node.op_type}"), *_with_tanh(case, i)


def _with_tanh(case: Case, i: int) -> tuple[ModelProto, float]:
    """Of the i-th part of a function of each number."""
    models = []
    for shape, kind in ((case.pattern.shape, TensorProto.FLOAT), ((LINE,), TensorProto.DOUBLE)):
        sheet, result = Sheet.of(case.pattern.spellings[case.spelling], case.opset, kind)
        part = Term(sheet, sheet.nodes[i].output[0])
        models.append(sheet.model(result, shape, part.cast()("Tanh") * 0.1))
    return models[0], joint_slope(models[1], LINE)


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


def variants(case: Case, folder: Path, *, optimise: bool, aside: bool) -> Iterator[Row]:
    """A case as it is, and as it is asked for beside that; nothing where its opset lacks an operator."""
    try:
        sheet, result = Sheet.of(case.pattern.spellings[case.spelling], case.opset)
    except UnavailableError:
        return
    model, truth = sheet.model(result, case.pattern.shape), true_constant(case.name)
    yield case, model, truth
    if optimise:
        for level in LEVELS:
            yield replace(case, variant=level), optimised(model, level, folder), truth
    if aside:
        yield from with_asides(case)


def report(case: Case, model: ModelProto, truth: float, folder: Path) -> None:
    """Print one row."""
    bound, obstacle = figures(model, folder)
    marks = ["UNSOUND"] if bound < truth * (1 - ROUNDING) else []
    try:
        marks += ["WRONG"] if deviation(model, case.pattern) > 1e-3 else []
    except Exception as error:  # noqa: BLE001
        marks.append(f"(not run: {type(error).__name__})")
    ratio = f"{bound / truth:8.4f}" if math.isfinite(bound) else "       -"
    marks += ["(jumps)"] if math.isinf(truth) else []
    note = " ".join([*marks, obstacle])
    row = f"{case.name:14} {case.spelling:20} {case.opset:3} {case.variant:16}"
    print(f"{row} {truth:12.6g} {bound:12.6g} {ratio} {note}".rstrip(), flush=True)


def by_torch(name: str, opsets: list[int], folder: Path) -> Iterator[Row]:
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
            case = Case(name=name, spelling=spelling, opset=key[2], variant=exporter)
            yield case, onnx.load(path), true_constant(name)
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
    for name in NORMS.keys() & set(names):
        if (highest := highest_found(NORMS[name])) > true_constant(name) * (1 + ROUNDING):
            print(f"{name}: a larger slope than {true_constant(name):.6g} was found: {highest:.6g}")
    print(f"{'pattern':14} {'spelling':20} opset {'variant':14} {'truth':>12} {'bound':>12}    ratio")
    asked = {"optimise": arguments.optimised, "aside": arguments.aside}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in names:
            spellings = product(PATTERNS[name].spellings, opsets)
            cases = (Case(name=name, spelling=spelling, opset=opset) for spelling, opset in spellings)
            found = chain.from_iterable(variants(case, folder, **asked) for case in cases)
            for row in by_torch(name, opsets, folder) if arguments.torch else found:
                report(*row, folder)


if __name__ == "__main__":
    main()
