"""Operators that are linear, or nearly, where one tensor varies: cases for what is said of their steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.local_nets import Net, Shape

RANDOM = np.random.default_rng(5)
IMAGE: Shape = (1, 4, 4, 6)
X = "x"
"""What varies, among a case's inputs."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One node.

    Attributes:
        op: its operator.
        inputs: X and constants; None for what is left out.
        shape: of X.
        outputs: how many it has.
    """

    op: str
    inputs: tuple[Any, ...] = (X,)
    shape: Shape = IMAGE
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def __str__(self) -> str:
        words = [self.op, *(str(value) for value in self.attributes.values())]
        return "-".join(words).replace(" ", "")

    def net(self) -> Net:
        """The node alone."""
        net = Net(0, self.shape)
        names = [
            "" if each is None else X if isinstance(each, str) else net.weight(each) for each in self.inputs
        ]
        net.add(self.op, *names, shape=(), **self.attributes)
        net.nodes[-1].output.extend(f"more{i}" for i in range(1, self.outputs))
        return net

    def classifier(self, folder: Path) -> Net:
        """A matrix, the node, another matrix, a Relu, and a last matrix to 3 classes."""
        net = self.net()
        made = net.graph(folder).shapes[net.last]
        assert made is not None
        size = int(np.prod([n or 0 for n in made]))
        node = net.nodes.pop()
        first = self.shape[-1]
        net.add("MatMul", X, net.normal(first, first, scale=first**-0.5), shape=self.shape)
        renamed = ["t0" if name == X else name for name in node.input]
        del node.input[:]
        node.input.extend(renamed)
        node.output[0], net.last = "t1", "t1"
        net.nodes.append(node)
        net.add("Reshape", net.last, net.weight(np.array([1, size])), shape=(1, size))
        net.add("Gemm", net.last, net.normal(5, size, scale=0.5), net.normal(5), shape=(1, 5), transB=1)
        net.add("Relu", net.last)
        net.add("MatMul", net.last, net.normal(5, 3), shape=(1, 3))
        return net


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def whole(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def _resized() -> list[Case]:
    image = (1, 2, 5, 6)
    frames = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
    cases = [
        Case(
            op="Resize",
            shape=image,
            inputs=(X, None, floats(1, 1, scale, 2)),
            attributes={"mode": mode, "coordinate_transformation_mode": frame},
        )
        for mode in ("nearest", "linear", "cubic")
        for frame in frames
        for scale in (3.0, 1.5, 0.6)
    ]
    sizes = (X, None, None, whole(7, 9))
    return [
        *cases,
        Case(op="Resize", shape=image, inputs=sizes, attributes={"axes": [2, 3], "mode": "linear"}),
        Case(
            op="Resize", shape=(1, 2, 7), inputs=(X, None, floats(1, 1, 2.5)), attributes={"mode": "linear"}
        ),
        Case(
            op="Resize",
            shape=image,
            inputs=(X, None, floats(1, 1, 2, 0.5)),
            attributes={"mode": "cubic", "cubic_coeff_a": -0.5},
        ),
    ]


def _moved() -> list[Case]:
    at = np.ones((1, 1, 4, 6), np.int64)
    pads = whole(0, 0, 1, 2, 0, 0, 2, 1)
    cases = [
        Case(op="Gather", inputs=(X, whole(0, -1, 2, 2)), attributes={"axis": 1}),
        Case(op="Gather", inputs=(X, np.array(1)), attributes={"axis": 2}),
        Case(op="GatherElements", inputs=(X, RANDOM.integers(0, 4, IMAGE)), attributes={"axis": 1}),
        Case(op="GatherND", inputs=(X, whole([0, 1], [0, 3]))),
        Case(op="ScatterND", inputs=(X, whole([0, 1], [0, 3]), normal(2, 4, 6))),
        Case(op="ScatterElements", inputs=(X, at, normal(1, 1, 4, 6)), attributes={"axis": 1}),
        Case(
            op="ScatterElements", inputs=(normal(1, 9, 4, 6), at, X), shape=at.shape, attributes={"axis": 1}
        ),
        Case(op="Tile", inputs=(X, whole(1, 2, 1, 2))),
        Case(op="Expand", shape=(1, 4, 1, 6), inputs=(X, whole(2, 4, 3, 6))),
        Case(op="SpaceToDepth", attributes={"blocksize": 2}),
        Case(op="CenterCropPad", inputs=(X, whole(3, 7)), attributes={"axes": [2, 3]}),
        Case(
            op="ReverseSequence",
            shape=(4, 3, 2),
            inputs=(X, whole(1, 4, 2)),
            attributes={"batch_axis": 1, "time_axis": 0},
        ),
        Case(op="Slice", inputs=(X, whole(-1), whole(-9), whole(3), whole(-2))),
        Case(op="Split", inputs=(X, whole(1, 3)), attributes={"axis": 1}, outputs=2),
        Case(op="Squeeze", inputs=(X, whole(0))),
        Case(op="Unsqueeze", inputs=(X, whole(1))),
        Case(op="Flatten", attributes={"axis": 2}),
        Case(op="Transpose", attributes={"perm": [0, 3, 1, 2]}),
        Case(op="Concat", inputs=(X, normal(1, 2, 4, 6), X), attributes={"axis": 1}),
        Case(op="Where", inputs=(normal(4, 1, 1) > 0, X, normal(6))),
        Case(op="Where", inputs=(normal(2, 4, 4, 6) > 0, X, X)),
        Case(op="Pad", inputs=(X, pads, np.array(1.5, np.float32))),
        Case(op="Pad", inputs=(X, whole(-1, 2, -1, 1), None, whole(3, 2))),
        Case(op="Pad", inputs=(normal(1, 4, 4, 6), pads, X), shape=(1,)),
        Case(op="Identity"),
        Case(op="Dropout"),
    ]
    cases += [Case(op="Trilu", inputs=(X, np.array(1)), attributes={"upper": upper}) for upper in (0, 1)]
    cases += [Case(op="Pad", inputs=(X, pads), attributes={"mode": m}) for m in ("edge", "reflect", "wrap")]
    ways = [{"blocksize": 2, "mode": mode} for mode in ("DCR", "CRD")]
    return cases + [Case(op="DepthToSpace", attributes=way) for way in ways]


def _multiplied() -> list[Case]:
    both = {"transA": 1, "transB": 1}
    cases = [
        Case(op="Gemm", shape=(1, 5), inputs=(X, normal(1, 3), normal(5, 3)), attributes={"transA": 1}),
        Case(op="Gemm", shape=(4, 3), inputs=(normal(2, 4), X, normal(2, 1)), attributes={"beta": 2.0}),
        Case(op="Gemm", shape=(3, 4), inputs=(normal(4, 2), X), attributes={**both, "alpha": 0.5}),
        Case(op="MatMul", inputs=(X, normal(6))),
        Case(op="MatMul", inputs=(normal(4), X)),
        Case(op="MatMul", inputs=(X, normal(3, 1, 6, 2))),
        Case(op="MatMul", inputs=(normal(4, 2, 4), X)),
        Case(op="MatMul", shape=(4,), inputs=(X, normal(4, 2))),
        Case(op="MatMul", shape=(4,), inputs=(normal(2, 4), X)),
    ]
    equations = {
        "abij,jk->abik": (X, normal(6, 3)),
        "...j,kj": (X, normal(3, 6)),
        "bcij,cjk->bkci": (X, normal(4, 6, 3)),
        "ci,bcij->bij": (normal(4, 4), X),
    }
    cases += [
        Case(op="Einsum", inputs=inputs, attributes={"equation": equation})
        for equation, inputs in equations.items()
    ]
    ways = [{"exclusive": e, "reverse": r} for e in (0, 1) for r in (0, 1)]
    return cases + [Case(op="CumSum", inputs=(X, np.array(-1)), attributes=way) for way in ways]


def _windows() -> list[Case]:
    image, shape = (1, 2, 5, 6), {"kernel_shape": [2, 3], "strides": [2, 2]}
    modes = ("SAME_UPPER", "SAME_LOWER", "VALID")
    further = [*({"auto_pad": mode} for mode in modes), {"ceil_mode": 1}]
    cases = [
        Case(op=op, shape=image, attributes={**shape, **more})
        for op in ("MaxPool", "AveragePool")
        for more in further
    ]
    cases += [
        Case(op="Conv", shape=image, inputs=(X, normal(3, 2, 2, 3)), attributes={**shape, "auto_pad": mode})
        for mode in modes
    ]
    ways = [
        {"output_padding": [1, 1], "pads": [1, 0, 0, 1]},
        {"output_shape": [10, 13]},
        {"auto_pad": "VALID"},
    ]
    weight = normal(2, 3, 2, 3)
    return cases + [
        Case(op="ConvTranspose", shape=image, inputs=(X, weight), attributes={**shape, **way}) for way in ways
    ]


def _reduced() -> list[Case]:
    ops = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum")
    cases = [Case(op=op, inputs=(X, whole(1, -1)), attributes={"keepdims": 0}) for op in ops]
    cases += [Case(op=op, attributes={"noop_with_empty_axes": 1}) for op in ops]
    cases += [Case(op=op) for op in ("GlobalAveragePool", "GlobalMaxPool", "Neg")]
    others = normal(4, 1, 1), normal(1, 4, 4, 6)
    return cases + [Case(op=op, inputs=(others[0], X, others[1], X)) for op in ("Max", "Mean", "Min", "Sum")]


def _activations() -> list[Case]:
    plain = (
        *(
            "Abs",
            "Asinh",
            "Atan",
            "Celu",
            "Cos",
            "Elu",
            "Erf",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
            "LeakyRelu",
        ),
        *("Mish", "Relu", "Selu", "Sigmoid", "Sin", "Softplus", "Softsign", "Tanh"),
    )
    line: Shape = (1, 6)
    cases = [Case(op=op, shape=line) for op in plain]
    return [
        *cases,
        Case(op="Clip", shape=line, inputs=(X, np.float32(-0.3), np.float32(0.4))),
        Case(op="Gelu", shape=line, attributes={"approximate": "tanh"}),
        Case(op="PRelu", shape=line, inputs=(X, normal(6))),
        Case(op="Pow", shape=line, inputs=(X, np.float32(1.0))),
        Case(op="Shrink", shape=line, attributes={"lambd": 0.3, "bias": 0.3}),
        Case(op="ThresholdedRelu", shape=line, attributes={"alpha": 0.0}),
    ]


ACTIVATIONS = _activations()
CASES = [*_resized(), *_moved(), *_multiplied(), *_windows(), *_reduced()]
