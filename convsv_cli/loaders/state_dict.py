"""Named tensors to layers: what a bare state dict says, and what has to be assumed."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from convsv_cli.loaders.tables import WEIGHT, is_matrix, no_layer
from convsv_cli.loaders.usage import Usage
from convsv_cli.model.layer import Geometry, Layer, UnsupportedLayer, layer_name
from convsv_cli.model.network import InputSize

_SCALE = re.compile(r"weight_(?:scale|zero_point)(?:_[a-z0-9]+)*$")
_PARTS = {"float8_e8m0fnu", "float4_e2m1fn_x2"}
"""Exponents of blocks, and pairs of values: neither is a number in its own right."""
CONVOLUTION_AXES = range(1, 4)
GEOMETRY = "stride 1, dilation 1, groups 1: the file says no other, and this over-estimates the norm"
NO_LAYERS = "taken for no layers, since they shift or scale each element or are vectors: {} {} ({})"
NAMED = 4

LINEAR = "a linear layer, not an embedding table: the file does not say (--as-table does)"
WITH_BIAS = "a linear layer, by the bias beside it, which no table has: the file does not say"
UNNAMED = "not named as a weight: the file does not say how it is used"
MISFIT = "a weight with {} axes is no convolution in one to three dimensions"


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """A tensor of a file.

    Attributes:
        shape, dtype: as stored; the latter as torch calls it, such as "float16".
        read: gives its values.
        unusable: why its values cannot be audited; empty where they can.
        identity: equal for tensors that are one in memory; None where the file does not say.
        assumed: what was taken for granted to get the values.
        usage: what is done with it, where the file says.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], torch.Tensor]
    unusable: str = ""
    identity: Hashable | None = None
    assumed: tuple[str, ...] = ()
    usage: Usage | None = None


def layers(
    tensors: Mapping[str, StoredTensor], input_size: InputSize
) -> tuple[Layer | UnsupportedLayer, ...]:
    """The layers among a state dict's tensors, in its order; tied weights once, with all their names."""
    tied: dict[Hashable, list[str]] = {}
    for name, tensor in tensors.items():
        tied.setdefault(_identity(name, tensor), []).append(name)
    rows = _unique(_layer(name, tensors, tied, input_size) for name in _candidates(tensors, tied))
    return tuple(rows)


def _identity(name: str, tensor: StoredTensor) -> Hashable:
    return name if tensor.identity is None else (tensor.identity, tensor.shape, tensor.usage)


def _candidates(tensors: Mapping[str, StoredTensor], tied: dict[Hashable, list[str]]) -> Iterator[str]:
    """Names of what may be a weight: no vectors, no scales, of tied tensors the first."""
    for name, tensor in tensors.items():
        is_first = tied[_identity(name, tensor)][0] == name
        is_named = tensor.usage is not None or WEIGHT.search(name)
        is_vector = sum(size != 1 for size in tensor.shape) <= 1 and not is_named
        is_scale = _SCALE.search(name) or (tensor.usage is None and _is_scale(name, tensors))
        if is_first and len(tensor.shape) >= 2 and not is_vector and not is_scale:
            yield name


def _is_scale(name: str, tensors: Mapping[str, StoredTensor]) -> bool:
    """Whether it scales or shifts each element, as LayerNorm does: weight and bias match."""
    twins = {"weight": "bias", "bias": "weight"}
    for ending, other in twins.items():
        twin = tensors.get(name.removesuffix(ending) + other) if name.endswith(ending) else None
        if twin is not None and twin.shape == tensors[name].shape:
            return True
    return False


def no_layers(tensors: Mapping[str, StoredTensor], rows: Sequence[Layer | UnsupportedLayer]) -> Iterator[str]:
    """A note on tensors of two axes and more that are in no row, where there are any."""
    named = {name for row in rows for name in (row.weight, *row.aliases)}
    others = [name for name, tensor in tensors.items() if len(tensor.shape) >= 2 and name not in named]
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        yield NO_LAYERS.format(
            len(others), "tensor" if len(others) == 1 else "tensors", ", ".join(others[:NAMED]) + more
        )


def _layer(
    name: str,
    tensors: Mapping[str, StoredTensor],
    tied: dict[Hashable, list[str]],
    input_size: InputSize,
) -> Layer | UnsupportedLayer:
    tensor, names = tensors[name], tied[_identity(name, tensors[name])]
    usage = tensor.usage or _presumed(names, tensors)
    fault = tensor.unusable
    reason = "" if usage.applicable else usage.reason
    reason = reason or fault or usage.reason or _real_numbers(tensor)
    if not reason:
        return _audited(names, tensor, usage, input_size)
    may_be = None if fault or _real_numbers(tensor) else _may_be(tensor, usage)
    return UnsupportedLayer(
        name=layer_name(name),
        weight=name,
        aliases=tuple(names[1:]),
        op=usage.op,
        kernel_shape=tensor.shape,
        dtype=tensor.dtype,
        reason=reason,
        applicable=usage.applicable,
        layer=None if may_be is None else _audited(names, tensor, may_be, input_size),
    )


def _may_be(tensor: StoredTensor, usage: Usage) -> Usage | None:
    """What a user may know that it is: a table is a matrix if anything."""
    is_open = tensor.usage is None if usage.applicable else len(tensor.shape) == 2
    return _matrix_or_kernel(tensor) if is_open else None


def _audited(names: list[str], tensor: StoredTensor, usage: Usage, input_size: InputSize) -> Layer:
    """The layer that uses a tensor so."""
    axes = len(tensor.shape) - 2
    size = input_size.for_axes(axes) if axes else ()
    return Layer(
        name=layer_name(names[0]),
        weight=names[0],
        aliases=tuple(names[1:]),
        op=usage.op,
        kernel_shape=tensor.shape,
        dtype=tensor.dtype,
        geometry=usage.geometry,
        input_size=size,
        assumed=(*tensor.assumed, *usage.assumed, *_assumed_size(size)),
        presumed=next((line for line in (LINEAR, WITH_BIAS) if line in usage.assumed), ""),
        read=tensor.read,
    )


def _presumed(names: list[str], tensors: Mapping[str, StoredTensor]) -> Usage:
    """How a tensor is used, by its names and what stands beside it, where the file does not say."""
    tensor = tensors[names[0]]
    none = no_layer(names, tensors)
    if none is not None:
        return none
    found = _matrix_or_kernel(tensor) or Usage(op="Conv", reason=MISFIT.format(len(tensor.shape)))
    if not any(map(WEIGHT.search, names)):
        return replace(found, reason=UNNAMED)
    return (
        replace(found, assumed=(WITH_BIAS,))
        if LINEAR in found.assumed and is_matrix(names, tensors)
        else found
    )


def _matrix_or_kernel(tensor: StoredTensor) -> Usage | None:
    """What a tensor of so many axes may be the weight of."""
    axes = len(tensor.shape) - 2
    if not axes:
        return Usage(op="Gemm", assumed=(LINEAR,))
    if axes not in CONVOLUTION_AXES:
        return None
    geometry = Geometry(stride=(1,) * axes, dilation=(1,) * axes)
    return Usage(op="Conv", geometry=geometry, assumed=(GEOMETRY,))


def _assumed_size(size: tuple[int, ...] | None) -> Iterator[str]:
    if size:
        yield f"the layer's input is {'x'.join(map(str, size))}, as large as the network's"


def _real_numbers(tensor: StoredTensor) -> str:
    if is_real(tensor.dtype):
        return ""
    return f"{tensor.dtype} weights: what real values they stand for is not known"


def is_real(dtype: str) -> bool:
    """Whether values of this type are real numbers, each by itself."""
    return dtype.startswith(("float", "bfloat")) and dtype not in _PARTS


def _unique(rows: Iterator[Layer | UnsupportedLayer]) -> Iterator[Layer | UnsupportedLayer]:
    """Rows with short names where these are unique, else with the tensor's full name."""
    seen: set[str] = set()
    for row in rows:
        name = row.name if row.name not in seen else row.weight
        seen.add(name)
        yield replace(row, name=name)
