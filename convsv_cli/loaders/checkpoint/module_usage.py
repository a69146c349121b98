"""What a module does with its weights, by the name of its class and by the attributes it was saved with.

The names are only names: a class of the same name could do anything, so only those of torch.nn are believed,
and of others that look like a convolution or a linear layer it is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from convsv_cli.loaders.usage import Usage
from convsv_cli.model.layer import Geometry

MODULES = "torch.nn.modules."
_MANGLED = re.compile(r"(^__torch__\.)|(___torch_mangle_\d+\.)")
_PADDING_MODES = {"zeros", "reflect", "replicate", "circular"}
_EMBEDDING = {"Embedding", "EmbeddingBag"}
_RECURRENT = {"LSTM", "GRU", "RNN"}
EMBEDDING = Usage(
    op="Gather",
    reason="an embedding table: a look-up of integer indices amplifies nothing",
    applicable=False,
)
BILINEAR = "a bilinear layer is not linear in its inputs"
MISFIT = "its recorded geometry does not fit its weight"
NO_AXES = "a weight with {} axes is no convolution in one to three dimensions"
MAX_STEP = 1 << 20


def plain_class_name(name: str) -> str:
    """A class's name without what TorchScript adds: torch.nn.modules.conv.Conv2d."""
    return _MANGLED.sub("", name)


def module_usage(
    class_name: str, attributes: Mapping[Any, Any], parameter: str, shape: tuple[int, ...]
) -> Usage | None:
    """How a module of that class uses its parameter of that shape; None where it is not known."""
    name = class_name.rpartition(".")[2]
    known = class_name.startswith(MODULES)
    if known and len(shape) == 2 and (op := _matrix_op(name, parameter)):
        return Usage(op=op)
    if not parameter.startswith("weight"):
        return None
    return _weight_usage(class_name, attributes, shape)


def _matrix_op(name: str, parameter: str) -> str:
    """The operator of a class of torch.nn in which this parameter is a matrix; empty for another."""
    if name.removesuffix("Cell") in _RECURRENT and parameter.startswith("weight_"):
        return name.removesuffix("Cell")
    is_attention = name == "MultiheadAttention" and parameter.endswith("_proj_weight")
    is_linear = name.endswith("Linear") and parameter.startswith("weight")
    return "Gemm" if is_attention or is_linear else ""


def _weight_usage(class_name: str, attributes: Mapping[Any, Any], shape: tuple[int, ...]) -> Usage | None:
    name = class_name.rpartition(".")[2]
    known = class_name.startswith(MODULES)
    if name in _EMBEDDING or {"num_embeddings", "embedding_dim"} <= attributes.keys():
        return EMBEDDING
    if known and name == "Bilinear":
        return Usage(op="Gemm", reason=BILINEAR)
    assumed = () if known else (f"it is used as in torch.nn: its class {class_name} was not looked into",)
    if {"stride", "dilation", "groups", "transposed"} <= attributes.keys():
        return convolution_usage(attributes, shape, assumed)
    is_linear = {"in_features", "out_features"} <= attributes.keys()
    if len(shape) == 2 and (is_linear or (name == "Conv1D" and attributes.get("nf") == shape[1])):
        return Usage(op="Gemm", assumed=assumed)
    return None


def convolution_usage(
    attributes: Mapping[Any, Any], shape: tuple[int, ...], assumed: tuple[str, ...] = ()
) -> Usage:
    """A convolution with these attributes of torch's; a reason instead where they fit no such weight.

    An output padding of None is one that is not known; then no padding is.
    """
    axes = len(shape) - 2
    op = "ConvTranspose" if attributes.get("transposed") is True else "Conv"
    if axes not in range(1, 4):
        return Usage(op=op, reason=NO_AXES.format(len(shape)))
    stride, dilation = (_entries(attributes.get(key), axes, 1) for key in ("stride", "dilation"))
    groups, mode = attributes.get("groups"), attributes.get("padding_mode", "zeros")
    if stride is None or dilation is None or type(groups) is not int:
        return Usage(op=op, reason=MISFIT)
    if not isinstance(mode, str) or mode not in _PADDING_MODES:
        return Usage(op=op, reason=MISFIT)
    padding = _padding(attributes.get("padding", 0), shape[2:], dilation)
    further = attributes.get("output_padding", 0) if op == "ConvTranspose" else 0
    known = further is not None
    further = _entries(further if known else 0, axes, 0)
    if padding is None or further is None or groups < 1 or not shape[0] or shape[0] % groups:
        return Usage(op=op, reason=MISFIT)
    geometry = Geometry(
        stride=stride,
        dilation=dilation,
        groups=groups,
        transposed=op == "ConvTranspose",
        padding=padding if known else (),
        padding_mode=mode,
        output_padding=further if any(further) else (),
    )
    return Usage(op=op, geometry=geometry, assumed=assumed)


def _padding(value: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...] | None:
    """All beginnings, then all ends; "same" puts an odd element at the end."""
    if value == "valid":
        return (0,) * 2 * len(kernel)
    if value == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return (*(total // 2 for total in totals), *(total - total // 2 for total in totals))
    padding = _entries(value, len(kernel), 0)
    return None if padding is None else padding * 2


def _entries(value: Any, axes: int, least: int) -> tuple[int, ...] | None:
    """One integer an axis, a single one standing for all; None for anything else."""
    values = (value,) * axes if type(value) is int else value
    if not isinstance(values, (tuple, list)):
        return None
    values = tuple(values) * axes if len(values) == 1 else tuple(values)
    if len(values) != axes or any(type(n) is not int or not least <= n <= MAX_STEP for n in values):
        return None
    return values
