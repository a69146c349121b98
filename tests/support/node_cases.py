"""Cases of every operator that has a rule; the first input varies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.support.constant_cases import POSITIVE, RANDOM, X, whole
from tests.support.opset_cases import Case

IMAGE = RANDOM.standard_normal((1, 3, 4, 5)).astype(np.float32)
THREE = np.array([0.5, -2.0, 1.5], np.float32)
SMALL = (X / 4).astype(np.float32)
SCALARS = (
    *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cosh", "Elu", "Erf", "Gelu"),
    *("HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Relu", "Selu", "Shrink", "Sinh"),
    *("Softplus", "Softsign", "Swish", "Tan", "ThresholdedRelu"),
)


def replaced(case: Case, first: int) -> Case:
    return replace(case, first=first)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def _scalars() -> list[Case]:
    cases = [Case(op=op, inputs=(SMALL + 2 if op == "Acosh" else SMALL,)) for op in SCALARS]
    first = Case(op="Selu", inputs=(SMALL,), attributes={"alpha": 1.6732, "gamma": 1.0507})
    cases = [case for case in cases if case.op != "Selu"]
    cases += [
        Case(op="Selu", inputs=(SMALL,), last=5, means=first),
        Case(op="Selu", inputs=(SMALL,), first=6),
    ]
    given = {"alpha": 1.5, "gamma": 2.0}
    cases += [Case(op="Selu", inputs=(SMALL,), attributes=given)]
    given = {"alpha": 1.5, "consumed_inputs": [0]}
    cases += [Case(op=op, inputs=(SMALL,), attributes=given, last=5) for op in ("Elu", "LeakyRelu")]
    limits = {"alpha": 0.3, "beta": 0.2}
    cases += [Case(op="HardSigmoid", inputs=(SMALL,), attributes=limits)]
    cases += [Case(op="Gelu", inputs=(SMALL,), attributes={"approximate": "tanh"})]
    slopes = THREE[:, None, None]
    channels = Case(op="PRelu", inputs=(IMAGE, slopes))
    shared = Case(op="PRelu", inputs=(IMAGE, floats(0.3)))
    cases += [
        Case(op="PRelu", inputs=(IMAGE, THREE), last=6, means=channels),
        replace(shared, last=6, means=shared),
        Case(op="PRelu", inputs=(IMAGE, slopes), first=7),
        Case(op="PRelu", inputs=(X, floats(3, 0.5, 2, 1)), first=7),
    ]
    return cases


def _probabilities() -> list[Case]:
    wide = RANDOM.standard_normal((2, 3, 1, 1)).astype(np.float32)
    cases = []
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        for source in (X, wide, X[0]):
            cases.append(Case(op=op, inputs=(source,)))
            cases += [Case(op=op, inputs=(source,), attributes={"axis": axis}) for axis in range(source.ndim)]
            cases.append(Case(op=op, inputs=(source,), attributes={"axis": -1}, first=11))
            cases.append(Case(op=op, inputs=(source,), attributes={"axis": -2}, first=11))
    return cases


def _merging() -> list[Case]:
    cases = [Case(op=op, inputs=(X, X[::-1], POSITIVE)) for op in ("Sum", "Mean")]
    cases += [Case(op=op, inputs=(X, X[0, :, :1]), first=8) for op in ("Sum", "Mean")]
    matrix, bias = X[1].T.copy(), floats(1, 2, 3)
    scaled = {"alpha": 0.5, "beta": 2.0}
    cases += [
        Case(op="Gemm", inputs=(X[0], matrix, bias), attributes={"broadcast": 1, **scaled}, last=6),
        Case(op="Gemm", inputs=(X[0], matrix, X[0, :, :3])),
        Case(op="Gemm", inputs=(X[0], X[1], bias), attributes={"transB": 1, **scaled}, first=7),
        Case(op="Gemm", inputs=(X[0], matrix), first=11),
        Case(op="Einsum", inputs=(X[0], matrix), attributes={"equation": "ij,jk->ik"}),
    ]
    return cases


def _convolutions() -> list[Case]:
    kernel = RANDOM.standard_normal((3, 3, 2, 2)).astype(np.float32)
    offsets = np.zeros((1, 8, 3, 4), np.float32)
    return [
        *(Case(op=op, inputs=(IMAGE, kernel, THREE)) for op in ("Conv", "ConvTranspose")),
        Case(op="Conv", inputs=(IMAGE, kernel), attributes={"strides": [2, 1], "pads": [1, 0, 0, 1]}),
        Case(op="DeformConv", inputs=(IMAGE, kernel, offsets)),
    ]


def _pooling() -> list[Case]:
    window, padded = (
        {"kernel_shape": [2, 2]},
        {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]},
    )
    cases = [Case(op=op, inputs=(IMAGE,)) for op in ("GlobalAveragePool", "GlobalMaxPool")]
    for op in ("AveragePool", "MaxPool"):
        cases += [Case(op=op, inputs=(IMAGE,), attributes=a) for a in (window, padded)]
    cases += [
        Case(op="AveragePool", inputs=(IMAGE,), attributes={**padded, "count_include_pad": 1}, first=7),
        Case(op="AveragePool", inputs=(IMAGE,), attributes={**window, "dilations": [1, 2]}, first=19),
        Case(op="MaxPool", inputs=(IMAGE,), attributes={**window, "dilations": [1, 2]}, first=10),
    ]
    for op, given in (("LpPool", window), ("LpPool", padded), ("GlobalLpPool", {})):
        for power in ({}, {"p": 1}, {"p": 3}):
            now = Case(op=op, inputs=(IMAGE,), attributes={**given, **power}, first=2)
            first = {name: float(value) for name, value in power.items()}
            cases.append(Case(op=op, inputs=(IMAGE,), attributes={**given, **first}, last=1, means=now))
            cases.append(Case(op=op, inputs=(IMAGE,), attributes=now.attributes, first=2, means=now))
    return cases


def _normalization() -> list[Case]:
    statistics = (THREE, floats(1, 0, -1), floats(0.5, -0.5, 0), floats(1, 0.25, 4))
    now = Case(op="BatchNormalization", inputs=(IMAGE, *statistics))
    old = {"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]}
    rows, groups = floats(1, -2, 0.5, 1), floats(1, 2)
    many = np.concatenate([IMAGE, IMAGE[:, :1]], 1)
    return [
        Case(op="BatchNormalization", inputs=(IMAGE, *statistics), attributes=old, last=5, means=now),
        Case(
            op="BatchNormalization", inputs=(IMAGE, *statistics), attributes={"is_test": 1}, first=6, last=6
        ),
        Case(op="BatchNormalization", inputs=(IMAGE, *statistics), attributes={"epsilon": 0.1}, first=7),
        Case(op="InstanceNormalization", inputs=(IMAGE, THREE, THREE)),
        Case(op="LayerNormalization", inputs=(X, rows, rows)),
        Case(op="RMSNormalization", inputs=(X, rows)),
        Case(op="GroupNormalization", inputs=(many, groups, groups), attributes={"num_groups": 2}, last=20),
        Case(op="GroupNormalization", inputs=(many, rows, rows), attributes={"num_groups": 2}, first=21),
        Case(op="LpNormalization", inputs=(X,)),
        Case(op="MeanVarianceNormalization", inputs=(IMAGE,)),
        Case(op="LRN", inputs=(IMAGE,), attributes={"size": 3, "alpha": 0.5}),
        Case(op="Dropout", inputs=(X,), attributes={"is_test": 1, "ratio": 0.3}, last=6),
        Case(op="Dropout", inputs=(X,), attributes={"ratio": 0.3}, first=7, last=11),
        Case(op="Dropout", inputs=(X, np.float32(0.3), np.array(False)), first=12),
    ]


def _resizing() -> list[Case]:
    cases = []
    for mode in ("nearest", "linear"):
        scales = floats(1, 1, 2, 3)
        now = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        means = Case(op="Resize", inputs=(IMAGE, None, scales), attributes=now)
        first = {"height_scale": 2.0, "width_scale": 3.0, "mode": "bilinear" if mode == "linear" else mode}
        second = {"mode": mode, "scales": [1.0, 1.0, 2.0, 3.0]}
        cases += [
            Case(op="Upsample", inputs=(IMAGE,), attributes=first, last=6, means=means),
            Case(op="Upsample", inputs=(IMAGE,), attributes=second, first=7, last=8),
            Case(op="Upsample", inputs=(IMAGE, scales), attributes={"mode": mode}, first=9, last=9),
            Case(op="Resize", inputs=(IMAGE, scales), attributes={"mode": mode}, last=10),
            Case(op="Resize", inputs=(IMAGE, floats(), scales), attributes={"mode": mode}, first=11),
        ]
    for mode in ("constant", "reflect", "edge"):
        pads = [0, 1, 0, 0, 1, 2]
        given = {"mode": mode, "pads": pads, "value": 2.0}
        cases.append(Case(op="Pad", inputs=(X,), attributes=given, first=2, last=10))
        cases.append(
            Case(op="Pad", inputs=(X, whole(*pads), np.float32(2)), attributes={"mode": mode}, first=11)
        )
    now = Case(op="Pad", inputs=(X, whole(*pads), np.float32(2)))
    cases.append(Case(op="Pad", inputs=(X,), attributes={"paddings": pads, "value": 2.0}, last=1, means=now))
    return cases


def _moving() -> list[Case]:
    places, updates = whole(1, 0, 2, 1)[None], X[0, :1]
    tall = RANDOM.standard_normal((1, 4, 2, 2)).astype(np.float32)
    top = {"axis": 2, "k": 2}
    largest = Case(op="TopK", inputs=(X, whole(2)), attributes={"axis": 2}, outputs=2)
    return [
        Case(op="DepthToSpace", inputs=(tall,), attributes={"blocksize": 2}),
        Case(op="DepthToSpace", inputs=(tall,), attributes={"blocksize": 2, "mode": "CRD"}, first=11),
        Case(op="SpaceToDepth", inputs=(tall,), attributes={"blocksize": 2}),
        Case(op="TopK", inputs=(X,), attributes=top, outputs=2, last=9, means=largest),
        replaced(largest, 10),
        Case(op="Scatter", inputs=(X[0], places, updates), last=10),
        Case(op="ScatterElements", inputs=(X[0], places, updates)),
        Case(op="ScatterND", inputs=(X, np.array([[0, 1], [1, 2]]), X[0, :2])),
        Case(op="Compress", inputs=(X, np.array([True, False, True])), attributes={"axis": 1}),
        Case(op="ReverseSequence", inputs=(X, whole(1, 2, 1)), attributes={"time_axis": 0, "batch_axis": 1}),
        Case(op="CenterCropPad", inputs=(X, whole(2, 4, 3))),
        Case(op="Col2Im", inputs=(X[:1].transpose(0, 2, 1).copy(), whole(2, 4), whole(2, 2))),
    ]


def _recurrent() -> list[Case]:
    cases = []
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        weights = [RANDOM.standard_normal((1, gates * 2, size)).astype(np.float32) for size in (4, 2)]
        now = Case(op=op, inputs=(X, *weights), attributes={"hidden_size": 2})
        old = {"hidden_size": 2, "output_sequence": 1}
        cases += [Case(op=op, inputs=(X, *weights), attributes=old, last=6, means=now), replaced(now, 7)]
    return cases


def _reductions() -> list[Case]:
    cases = []
    for op in ("ReduceL1", "ReduceLogSum", "ReduceLogSumExp"):
        old = ({}, {"axes": [0, 2], "keepdims": 0})
        cases += [Case(op=op, inputs=(POSITIVE,), attributes=attributes, last=17) for attributes in old]
        cases.append(Case(op=op, inputs=(POSITIVE, whole(1)), first=18))
        cases.append(Case(op=op, inputs=(POSITIVE,), first=18))
    return cases


def _losses() -> list[Case]:
    targets, weights = np.array([[0, 2, 1, 1], [2, 0, 0, 1]]), floats(0.5, 2, 1)
    cases = []
    for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"):
        for reduction in ("none", "sum", "mean"):
            for given in ({}, {"ignore_index": 0}):
                attributes = {"reduction": reduction, **given}
                cases += [
                    Case(op=op, inputs=inputs, attributes=attributes, first=12)
                    for inputs in ((X, targets), (X, targets, weights))
                ]
    cases.append(Case(op="SoftmaxCrossEntropyLoss", inputs=(X, targets), outputs=2))
    return cases


def _spectra() -> list[Case]:
    signal = RANDOM.standard_normal((1, 13, 1)).astype(np.float32)
    complex_ = RANDOM.standard_normal((2, 5, 2)).astype(np.float32)
    window, step, length = floats(0.5, 1, 2, 1), np.array(2), np.array(4)
    cases = []
    for given in ({}, {"inverse": 1}):
        now = Case(op="DFT", inputs=(complex_, None, np.array(1)), attributes=given, first=20)
        cases += [now, Case(op="DFT", inputs=(complex_,), attributes=given, last=19, means=now)]
        cases += [
            Case(op="DFT", inputs=(complex_, np.array(size), np.array(1)), attributes=given, first=20)
            for size in (3, 8)
        ]
    real = Case(op="DFT", inputs=(signal,), attributes={"onesided": 1})
    for one_sided in (0, 1):
        attributes = {"onesided": one_sided}
        cases += [
            Case(op="STFT", inputs=(signal, step, window), attributes=attributes),
            Case(op="STFT", inputs=(signal, step, None, length), attributes=attributes),
        ]
    return [*cases, real]


def _sampled() -> list[Case]:
    points = RANDOM.uniform(-1.2, 1.2, (1, 2, 3, 2)).astype(np.float32)
    angles = RANDOM.standard_normal((1, 3, 2)).astype(np.float32)
    cache, update = X[:, :, None], X[:, :1, None]
    cases = []
    for old, mode in (("nearest", "nearest"), ("bilinear", "linear"), ("bicubic", "cubic")):
        now = Case(op="GridSample", inputs=(IMAGE, points), attributes={"mode": mode}, first=20)
        cases += [now, Case(op="GridSample", inputs=(IMAGE, points), attributes={"mode": old}, last=19)]
    return [
        *cases,
        Case(op="AffineGrid", inputs=(X[:, :2, :3].copy(), whole(2, 1, 3, 4))),
        Case(
            op="RotaryEmbedding",
            inputs=(X[None, :, :, :].copy(), np.cos(angles)[:, :3], np.sin(angles)[:, :3]),
        ),
        Case(
            op="Attention", inputs=(X[None], X[None, :, ::-1].copy(), X[None, :, :2].repeat(2, 2)[:, :, :3])
        ),
        Case(op="TensorScatter", inputs=(cache, update, whole(0, 2)), attributes={"axis": 1}),
    ]


NODE_CASES = [
    *(*_scalars(), *_probabilities(), *_merging(), *_convolutions(), *_pooling(), *_normalization()),
    *(*_resizing(), *_moving(), *_recurrent(), *_reductions(), *_losses(), *_spectra(), *_sampled()),
]
