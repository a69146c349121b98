"""What modules of torch.nn do in evaluation, in operators of ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convsv_cli import limits
from convsv_cli.loaders.checkpoint.values import Record, Tensor
from convsv_cli.model.layer import CONV, TRANSPOSED

if TYPE_CHECKING:
    from convsv_cli.loaders.checkpoint.chain import Chain

BATCH, LENGTH = "batch", "length"


class NoChainError(Exception):
    """The file is no chain of modules that are known; the reason, in words."""


class Step:
    """A module to be written.

    Attributes:
        name: of the module.
        settings: the attributes that it was saved with.
    """

    def __init__(self, chain: Chain, module: Record, name: str) -> None:
        self._chain, self.name = chain, name
        self.settings: Mapping[Any, Any] = module.attributes

    def emit(self, op: str, *more: str, **attributes: Any) -> None:
        """A node after the last one."""
        self._chain.emit(self.name, op, *more, **attributes)

    def begin(self, *shape: int | str) -> None:
        """The shape of its input, where it is the first to say so."""
        self._chain.begin(shape)

    def weight(self, name: str) -> str:
        """A parameter or buffer; empty where the module has none of that name."""
        for registry in ("_parameters", "_buffers"):
            value = self.settings[registry].get(name)
            if isinstance(value, Tensor):
                return self._chain.stored(f"{self.name}.{name}", value)
        return ""

    def turned(self, weight: str) -> str:
        """A stored matrix with its axes swapped."""
        return self._chain.turned(weight)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a parameter."""
        return tuple(map(int, self.settings["_parameters"][name].shape))

    @property
    def now(self) -> str:
        """The tensor that it is given, and after `emit` what it gives."""
        return self._chain.now

    def full(self, name: str, shape: Sequence[int], value: float) -> str:
        """A stored tensor in place of one that the module does not have."""
        limits.hold(16 * math.prod(shape), "the weights of a chain")
        return self._chain.constant(f"{self.name}.{name}", np.full(shape, value, self._chain.dtype))

    def number(self, name: str, value: float) -> str:
        """A stored number."""
        return self.full(name, (), value)

    def each(self, name: str, axes: int) -> list[int]:
        """A setting for each axis."""
        value = self.settings[name]
        values = list(value) if isinstance(value, tuple | list) else [value] * axes
        if len(values) != axes or any(type(each) is not int for each in values):
            raise ValueError(name)
        return values


Build = Callable[[Step], None]


def _plain(op: str, **settings: str) -> Build:
    """A function of each entry, with attributes from settings."""

    def build(step: Step) -> None:
        step.emit(op, **{key: float(step.settings[name]) for key, name in settings.items()})

    return build


def _linear(step: Step) -> None:
    outputs, inputs = step.shape("weight")
    step.begin(BATCH, inputs)
    if not outputs:
        raise NoChainError(f"{step.name!r} gives nothing")
    weight, bias = step.weight("weight"), step.weight("bias")
    step.emit("MatMul", step.turned(weight))
    if bias:
        step.emit("Add", bias)


def _convolution(axes: int, *, transposed: bool = False) -> Build:
    def build(step: Step) -> None:
        if step.settings.get("padding_mode", "zeros") != "zeros":
            raise NoChainError(f"{step.name!r} pads in another way than by zeros")
        groups = int(step.settings["groups"])
        step.begin(BATCH, int(step.settings["in_channels"]), *(f"{LENGTH}_{i}" for i in range(axes)))
        dilation, kernel = step.each("dilation", axes), list(step.shape("weight")[2:])
        weight, bias = step.weight("weight"), step.weight("bias")
        more = {"output_padding": step.each("output_padding", axes)} if transposed else {}
        step.emit(
            TRANSPOSED if transposed else CONV,
            weight,
            *([bias] if bias else []),
            strides=step.each("stride", axes),
            pads=_pads(step, axes, dilation, kernel),
            dilations=dilation,
            group=groups,
            **more,
        )

    return build


def _pads(step: Step, axes: int, dilation: list[int], kernel: list[int]) -> list[int]:
    padding = step.settings["padding"]
    if padding == "valid":
        return [0] * (2 * axes)
    if padding == "same":
        totals = [d * (size - 1) for d, size in zip(dilation, kernel, strict=True)]
        return [*(total // 2 for total in totals), *(total - total // 2 for total in totals)]
    return step.each("padding", axes) * 2


def _batch_norm(step: Step) -> None:
    count = int(step.settings["num_features"])
    if not step.settings["track_running_stats"]:
        raise NoChainError(f"{step.name!r} normalizes by the batch")
    scale = step.weight("weight") or step.full("weight", (count,), 1.0)
    shift = step.weight("bias") or step.full("bias", (count,), 0.0)
    running = step.weight("running_mean"), step.weight("running_var")
    step.emit("BatchNormalization", scale, shift, *running, epsilon=float(step.settings["eps"]))


def _layer_norm(step: Step) -> None:
    inner = [int(size) for size in step.settings["normalized_shape"]]
    step.begin(BATCH, *inner)
    weight, bias = step.weight("weight"), step.weight("bias")
    weight = weight or step.full("weight", inner, 1.0)
    bias_given = [bias] if bias else []
    step.emit(
        "LayerNormalization", weight, *bias_given, axis=-len(inner), epsilon=float(step.settings["eps"])
    )


def _pool(op: str, axes: int) -> Build:
    def build(step: Step) -> None:
        if step.settings.get("return_indices") or step.settings.get("divisor_override") is not None:
            raise NoChainError(f"{step.name!r} gives more than values, or other means")
        kernel = step.each("kernel_size", axes)
        stride = kernel if step.settings["stride"] is None else step.each("stride", axes)
        own: dict[str, object] = (
            {"dilations": step.each("dilation", axes)}
            if op == "MaxPool"
            else {"count_include_pad": int(step.settings["count_include_pad"])}
        )
        step.emit(
            op,
            kernel_shape=kernel,
            strides=stride,
            pads=step.each("padding", axes) * 2,
            ceil_mode=int(step.settings["ceil_mode"]),
            **own,
        )

    return build


def _global_pool(op: str, axes: int) -> Build:
    def build(step: Step) -> None:
        if set(step.each("output_size", axes)) != {1}:
            raise NoChainError(f"{step.name!r} pools to more than one place")
        step.emit(op)

    return build


def _flatten(step: Step) -> None:
    if (step.settings["start_dim"], step.settings["end_dim"]) != (1, -1):
        raise NoChainError(f"{step.name!r} flattens only some axes")
    step.emit("Flatten", axis=1)


def _softmax(op: str) -> Build:
    def build(step: Step) -> None:
        if type(step.settings["dim"]) is not int:
            raise NoChainError(f"{step.name!r} does not say along which axis")
        step.emit(op, axis=step.settings["dim"])

    return build


def _clip(lower: str | float, upper: str | float) -> Build:
    """Between numbers, or settings."""

    def build(step: Step) -> None:
        ends = (end if isinstance(end, float) else float(step.settings[end]) for end in (lower, upper))
        step.emit("Clip", *(step.number(f"end_{i}", end) for i, end in enumerate(ends)))

    return build


def _softplus(step: Step) -> None:
    if step.settings["beta"] != 1:
        raise NoChainError(f"{step.name!r} has a beta of its own")
    step.emit("Softplus")


def _silu(step: Step) -> None:
    before = step.now
    step.emit("Sigmoid")
    step.emit("Mul", before)


def _prelu(step: Step) -> None:
    if step.shape("weight") != (1,):
        raise NoChainError(f"{step.name!r} has a slope for each channel")
    step.emit("PRelu", step.weight("weight"))


def _gelu(step: Step) -> None:
    step.emit("Gelu", approximate=str(step.settings["approximate"]))


def _itself(step: Step) -> None:
    step.emit("Identity")


BUILDS: Mapping[str, Build] = {
    "linear.Linear": _linear,
    "linear.Identity": _itself,
    **{f"conv.Conv{n}d": _convolution(n) for n in (1, 2, 3)},
    **{f"conv.ConvTranspose{n}d": _convolution(n, transposed=True) for n in (1, 2, 3)},
    **{f"batchnorm.BatchNorm{n}d": _batch_norm for n in (1, 2, 3)},
    "normalization.LayerNorm": _layer_norm,
    **{f"pooling.MaxPool{n}d": _pool("MaxPool", n) for n in (1, 2, 3)},
    **{f"pooling.AvgPool{n}d": _pool("AveragePool", n) for n in (1, 2, 3)},
    **{f"pooling.AdaptiveAvgPool{n}d": _global_pool("GlobalAveragePool", n) for n in (1, 2, 3)},
    **{f"pooling.AdaptiveMaxPool{n}d": _global_pool("GlobalMaxPool", n) for n in (1, 2, 3)},
    "flatten.Flatten": _flatten,
    **{f"dropout.{kind}": _itself for kind in ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d")},
    **{f"dropout.{kind}": _itself for kind in ("AlphaDropout", "FeatureAlphaDropout")},
    **{
        f"activation.{name}": _plain(op)
        for name, op in (
            ("ReLU", "Relu"), ("Sigmoid", "Sigmoid"), ("Tanh", "Tanh"), ("SELU", "Selu"), ("Mish", "Mish"),
            ("Softsign", "Softsign"), ("Hardswish", "HardSwish"),
        )
    },
    "activation.LeakyReLU": _plain("LeakyRelu", alpha="negative_slope"),
    "activation.ELU": _plain("Elu", alpha="alpha"),
    "activation.CELU": _plain("Celu", alpha="alpha"),
    "activation.ReLU6": _clip(0.0, 6.0),
    "activation.Hardtanh": _clip("min_val", "max_val"),
    "activation.GELU": _gelu,
    "activation.SiLU": _silu,
    "activation.PReLU": _prelu,
    "activation.Softplus": _softplus,
    "activation.Softmax": _softmax("Softmax"),
    "activation.LogSoftmax": _softmax("LogSoftmax"),
}  # fmt: skip
"""By the class's name in torch.nn.modules."""
