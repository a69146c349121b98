"""Cases of every operator that convsv computes of constants."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, numpy_helper

from tests.support.opset_cases import Case

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(0.5, 3, (2, 3, 4)).astype(np.float32) * RANDOM.choice([-1, 1], (2, 3, 4)).astype(
    np.float32
)
POSITIVE = np.abs(X)
WHOLE = RANDOM.integers(-3, 4, (2, 3, 4))
TRUTH = X > 0
UNARY = ("Abs", "Ceil", "Exp", "Floor", "Neg", "Reciprocal", "Sigmoid", "Tanh")
PLAIN = ("Cos", "Identity", "Round", "Sign", "Sin")
REDUCTIONS = (
    *("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSumSquare", "ReduceSum"),
)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _aligned(op: str, a: np.ndarray) -> list[Case]:
    """B of A's shape, at an axis, at the end, and as now."""
    b = a[::-1]
    old = [Case(op=op, inputs=(a, b), last=6, means=Case(op=op, inputs=(a, b)))]
    for part, attributes in (
        (b[0, :, 0], {"axis": 1}),
        (b[:, 0, 0], {"axis": 0}),
        (b[:, :, 0], {"axis": 0}),
        (b[0, :, :], {"axis": 1}),
        (b[0, :, 0], {"axis": -2}),
        (b[0, 0, :], {"axis": 2}),
        (b[0, :, :], {}),
        (b[0, 0, :], {}),
        (b[0, 0, :1], {}),
        (b[0, 0, 0], {}),
    ):
        start = attributes.get("axis", a.ndim - part.ndim) % (a.ndim + (part.ndim == 0))
        means = Case(op=op, inputs=(a, part.reshape(part.shape + (1,) * (a.ndim - start - part.ndim))))
        given = {"broadcast": 1, **attributes}
        old.append(Case(op=op, inputs=(a, part), attributes=given, last=6, means=means))
    now = [Case(op=op, inputs=(a, other), first=7) for other in (b, b[0], b[:, :, :1], b[0, :, :1])]
    return [*old, *now, Case(op=op, inputs=(a[0, :, :1], b), first=7)]


def _binary() -> list[Case]:
    numbers = [case for op in ("Add", "Sub", "Mul", "Div", "Greater", "Less") for case in _aligned(op, X)]
    numbers += _aligned("Pow", POSITIVE)
    truths = [case for op in ("And", "Or", "Xor") for case in _aligned(op, TRUTH)]
    equal = _aligned("Equal", WHOLE)
    late = [Case(op=op, inputs=(X, X[0, :, :1])) for op in ("GreaterOrEqual", "LessOrEqual")]
    mod = [Case(op="Mod", inputs=(WHOLE, np.abs(WHOLE[0]) + 1))]
    mod.append(Case(op="Mod", inputs=(X, POSITIVE[0]), attributes={"fmod": 1}))
    chosen = [Case(op="Where", inputs=(TRUTH, X, X[0, :, :1]))]
    return numbers + truths + equal + late + mod + chosen


def _unary() -> list[Case]:
    cases = [Case(op=op, inputs=(X,)) for op in (*UNARY, *PLAIN)]
    cases += [Case(op=op, inputs=(POSITIVE,)) for op in ("Sqrt", "Log")]
    cases += [
        Case(op=op, inputs=(POSITIVE,), attributes={"consumed_inputs": [0]}, last=5) for op in ("Exp", "Log")
    ]
    cases += [Case(op="Not", inputs=(TRUTH,))]
    for op in ("Max", "Min"):
        cases += [Case(op=op, inputs=(X, X[::-1], POSITIVE)), Case(op=op, inputs=(X, X[0, :, :1]), first=8)]
    return cases


def _reductions() -> list[Case]:
    cases = []
    for op in REDUCTIONS:
        end = 12 if op == "ReduceSum" else 17
        old = ({}, {"keepdims": 0}, {"axes": [1]}, {"axes": [0, 2], "keepdims": 0})
        cases += [Case(op=op, inputs=(POSITIVE,), attributes=attributes, last=end) for attributes in old]
        cases.append(Case(op=op, inputs=(POSITIVE,), attributes={"axes": [-1]}, first=11, last=end))
        for axes, attributes in (
            (whole(1), {}),
            (whole(0, -1), {"keepdims": 0}),
            (whole(), {}),
            (None, {}),
        ):
            inputs = (POSITIVE,) if axes is None else (POSITIVE, axes)
            cases.append(Case(op=op, inputs=inputs, attributes=attributes, first=end + 1))
    noop = {"noop_with_empty_axes": 1}
    return [*cases, Case(op="ReduceSum", inputs=(POSITIVE, whole()), attributes=noop, first=13)]


def _axes() -> list[Case]:
    flat = X[:, :1, :]
    cases = []
    for op, source, axes in (("Squeeze", flat, [1]), ("Unsqueeze", X, [0, 3])):
        cases.append(Case(op=op, inputs=(source,), attributes={"axes": axes}, last=12))
        cases.append(Case(op=op, inputs=(source, whole(*axes)), first=13))
        negative = [axis - (len(source.shape) + (len(axes) if op == "Unsqueeze" else 0)) for axis in axes]
        cases.append(Case(op=op, inputs=(source,), attributes={"axes": negative}, first=11, last=12))
        cases.append(Case(op=op, inputs=(source, whole(*negative)), first=13))
    cases.append(Case(op="Squeeze", inputs=(flat,)))
    cases += [Case(op="Flatten", inputs=(X,), attributes={"axis": axis}) for axis in (0, 1, 2, 3)]
    cases.append(Case(op="Flatten", inputs=(X,)))
    cases.append(Case(op="Flatten", inputs=(X,), attributes={"axis": -1}, first=11))
    cases.append(Case(op="Concat", inputs=(X, X), last=3))
    cases += [Case(op="Concat", inputs=(X, X[::-1]), attributes={"axis": axis}) for axis in (0, 2)]
    cases.append(Case(op="Concat", inputs=(X, X), attributes={"axis": -2}, first=11))
    cases += [Case(op="Transpose", inputs=(X,), attributes=a) for a in ({}, {"perm": [1, 2, 0]})]
    return cases


def _parts() -> list[Case]:
    cuts = {"starts": [1, 0], "ends": [3, -1]}
    cases = [Case(op="Slice", inputs=(X[0],), attributes=a, last=9) for a in (cuts, {**cuts, "axes": [1, 0]})]
    cases.append(Case(op="Slice", inputs=(X, whole(1, 0), whole(9, -1), whole(2, 1)), first=10))
    cases.append(Case(op="Slice", inputs=(X, whole(1), whole(3)), first=10))
    cases.append(Case(op="Slice", inputs=(X, whole(3), whole(0), whole(2), whole(-2)), first=10))
    now = Case(op="Split", inputs=(X, whole(1, 3)), attributes={"axis": 2}, outputs=2, first=13)
    halves = Case(op="Split", inputs=(X, whole(2, 2)), attributes={"axis": 2}, outputs=2, first=13)
    old, even = {"axis": 2, "split": [1, 3]}, {"axis": 2}
    cases.append(Case(op="Split", inputs=(X,), attributes=old, outputs=2, last=12, means=now))
    cases.append(Case(op="Split", inputs=(X,), outputs=2, first=2, last=17))
    cases.append(Case(op="Split", inputs=(X,), attributes=even, outputs=2, last=17, means=halves))
    cases.append(Case(op="Split", inputs=now.inputs, attributes=even, outputs=2, last=1, means=now))
    cases.append(Case(op="Split", inputs=(X,), attributes={"axis": 2, "num_outputs": 3}, outputs=3, first=18))
    cases.append(now)
    for indices in (whole(1, 0, 1), whole(1)):
        cases.append(Case(op="Gather", inputs=(X, indices)))
        cases.append(Case(op="Gather", inputs=(X, indices), attributes={"axis": 2}))
    cases.append(Case(op="Gather", inputs=(X, whole(-1)), attributes={"axis": -1}, first=11))
    cases.append(Case(op="GatherElements", inputs=(X[0], whole(1, 0, 2, 1)[None]), attributes={"axis": 0}))
    cases.append(Case(op="GatherND", inputs=(X, np.array([[0, 1], [1, 2]]))))
    cases.append(
        Case(op="GatherND", inputs=(X, np.array([[1], [2]])), attributes={"batch_dims": 1}, first=12)
    )
    some = np.array([[0, 1], [1, 2]])
    cases.append(Case(op="ScatterND", inputs=(X, some, -X[0, :2])))
    cases.append(
        Case(op="ScatterND", inputs=(X, some[:1, :1], X[1:] / 3), attributes={"reduction": "add"}, first=16)
    )
    cases.append(Case(op="Trilu", inputs=(X, np.array(1, np.int64)), attributes={"upper": 0}))
    return cases


def _shapes() -> list[Case]:
    cases = [Case(op="Reshape", inputs=(X,), attributes={"shape": [0, -1]}, last=4)]
    cases += [Case(op="Reshape", inputs=(X, whole(*shape)), first=5) for shape in ((0, -1), (4, 3, 2))]
    cases += [Case(op=op, inputs=(X,)) for op in ("Shape", "Size")]
    cases.append(Case(op="Shape", inputs=(X,), attributes={"start": 1, "end": -1}, first=15))
    cases.append(Case(op="Expand", inputs=(X, whole(2, 1, 3, 4))))
    cases.append(Case(op="Tile", inputs=(X, whole(1, 2, 3)), first=6))
    cases.append(Case(op="ConstantOfShape", inputs=(whole(2, 3),)))
    two = numpy_helper.from_array(np.array([2], np.int64))
    cases.append(Case(op="ConstantOfShape", inputs=(whole(2, 3),), attributes={"value": two}))
    cases.append(Case(op="Range", inputs=tuple(np.array(v, np.float32) for v in (1, 9, 2.5))))
    for attributes in ({}, {"exclusive": 1}, {"reverse": 1}):
        cases.append(Case(op="CumSum", inputs=(X, np.array(1, np.int32)), attributes=attributes))
    return cases


def _types() -> list[Case]:
    kinds = (
        *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16),
        TensorProto.INT32,
        TensorProto.BOOL,
    )
    cases = [Case(op="Cast", inputs=(X,), attributes={"to": kind}, first=6) for kind in kinds]
    for case, kind in zip(tuple(cases), kinds, strict=True):
        name = {"to": TensorProto.DataType.Name(kind)}
        cases.append(Case(op="Cast", inputs=(X,), attributes=name, last=5, means=case))
    cases.append(Case(op="CastLike", inputs=(X, WHOLE)))
    stored = numpy_helper.from_array(X)
    cases.append(Case(op="Constant", inputs=(), attributes={"value": stored}))
    plain = ({"value_float": 1.5}, {"value_ints": [1, 2]}, {"value_floats": [1.0]}, {"value_int": 3})
    cases += [Case(op="Constant", inputs=(), attributes=attributes, first=12) for attributes in plain]
    for kind in (np.float32, np.float64, np.float16):
        limits = ({"min": -1.0, "max": 1.5}, {"min": 0.0}, {"max": 0.25})
        cases += [Case(op="Clip", inputs=(X.astype(kind),), attributes=each, last=10) for each in limits]
    cases.append(Case(op="Clip", inputs=(X, np.float32(-1.0), np.float32(1.5)), first=11))
    cases.append(Case(op="Clip", inputs=(X, None, np.float32(1.5)), first=11))
    return cases


def _products() -> list[Case]:
    cases = [Case(op="MatMul", inputs=(X[0], X[1].T.copy())), Case(op="MatMul", inputs=(X, X[0].T.copy()))]
    bytes_, zero = RANDOM.integers(0, 255, (3, 4)).astype(np.uint8), np.uint8(7)
    scales, zeros = np.array([0.1, 0.2, 0.5], np.float32), np.array([1, 2, 3], np.uint8)
    for op, source in (("DequantizeLinear", bytes_), ("QuantizeLinear", X[0])):
        cases.append(Case(op=op, inputs=(source, np.float32(0.1), zero)))
        cases.append(Case(op=op, inputs=(source, np.float32(0.1))))
        cases.append(Case(op=op, inputs=(source, scales, zeros), attributes={"axis": 0}, first=13))
        blocks = np.stack([scales, scales * 2], 1)
        cases.append(Case(op=op, inputs=(source, blocks), attributes={"axis": 1, "block_size": 2}, first=21))
    return cases


CASES = [*_unary(), *_binary(), *_reductions(), *_axes(), *_parts(), *_shapes(), *_types(), *_products()]
