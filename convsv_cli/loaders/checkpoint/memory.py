"""A PyTorch module in memory as the pickle of it would be read, so that both give the same rows.

Of its code nothing is called but what makes a weight that is kept in another form: parametrizations that
convsv does not know, and the packed weights of torch's quantised modules.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrizations, parametrize

from convsv_cli.loaders.checkpoint.containers import mark
from convsv_cli.loaders.checkpoint.values import Global, Record, Storage, Tensor
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.spectral.limited import RECORD
from convsv_cli.torch_modules.modules import PARAMETRISATIONS, evaluating, has_packed_weights

UNMADE = "it has no values yet: run the model on a batch first"
FOREIGN = "a tensor of the class {}, whose values convsv does not take"
KNOWN = (parametrizations._WeightNorm, parametrizations._SpectralNorm)  # noqa: SLF001  (no other name)
"""Parametrizations whose parts say in float64 what the weight is."""
PLAIN = (torch.Tensor, nn.Parameter)


class Memory:
    """A module, and the tensors that it holds.

    Attributes:
        value: the module as an inert record, as the pickle of it would give.
    """

    def __init__(self, module: nn.Module) -> None:
        self._tensors: dict[Hashable, torch.Tensor] = {}
        self._converted: dict[int, Any] = {}
        with evaluating(module):
            self.value: Record = self._record(module)

    def stored(self, tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
        """Tensors with their values behind `read`, as they are when that is called."""
        return {name: self._stored(tensor) for name, tensor in tensors.items()}

    def _stored(self, tensor: Tensor) -> StoredTensor:
        place = mark(tensor)
        return StoredTensor(
            shape=tensor.shape,
            dtype=tensor.dtype,
            read=lambda: _dense(self._tensors[place]).cpu(),
            unusable=tensor.unusable,
            identity=place if tensor.storage else None,
            usage=tensor.usage,
        )

    def _converted_value(self, value: Any) -> Any:
        """Tensors, modules and containers as a pickle gives them; of other objects their class alone."""
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            return self._record(value)
        if isinstance(value, (Mapping, list, tuple)):
            return self._container(value)
        if isinstance(value, (bool, int, float, str, type(None))):
            return value
        is_named = isinstance(value, type) or (
            hasattr(value, "__module__") and hasattr(value, "__qualname__")
        )
        kind = value if is_named else type(value)
        found = Global(str(kind.__module__), str(kind.__qualname__))
        return found if is_named else Record(found)

    def _container(self, value: Mapping[Any, Any] | list[Any] | tuple[Any, ...]) -> Any:
        """It with what it holds, which may be itself."""
        if isinstance(value, tuple):
            return tuple(map(self._converted_value, value))
        if id(value) not in self._converted:
            if isinstance(value, Mapping):
                held = self._converted[id(value)] = {}
                held |= {key: self._converted_value(inner) for key, inner in value.items() if _is_key(key)}
            else:
                items = self._converted[id(value)] = []
                items += map(self._converted_value, value)
        return self._converted[id(value)]

    def _record(self, module: nn.Module) -> Record:
        known: Record | None = self._converted.get(id(module))
        if known is None:
            kind = type(module)
            if parametrize.is_parametrized(module):
                kind = kind.__mro__[1]  # torch gives each such module a class of its own
            known = self._converted[id(module)] = Record(Global(kind.__module__, kind.__qualname__))
            known.state = {name: self._converted_value(value) for name, value in vars(module).items()}
            self._make(module, known.state)
        return known

    def _make(self, module: nn.Module, state: dict[str, Any]) -> None:
        """Set the weights that only code can make of what a module keeps."""
        made: dict[str, torch.Tensor] = {}
        if parametrize.is_parametrized(module):
            parts: Any = module.get_submodule(PARAMETRISATIONS)
            made = {name: getattr(module, name) for name, each in parts.items() if not _is_known(each)}
            for name in made:
                del state["_modules"][PARAMETRISATIONS].state["_modules"][name]
        elif type(module).__module__.startswith("torch.ao.") and has_packed_weights(module):
            weight: Any = module.weight
            made = {"weight": _dequantised(weight())}
        for name, tensor in made.items():
            state["_parameters"][name] = self._tensor(tensor)

    def _tensor(self, tensor: torch.Tensor) -> Tensor:
        dtype = str(tensor.dtype).removeprefix("torch.")
        unusable = ""
        if is_lazy(tensor) or tensor.is_meta:
            unusable = UNMADE
        elif type(tensor) not in PLAIN:
            unusable = FOREIGN.format(type(tensor).__qualname__)
        if is_lazy(tensor):
            return Tensor(shape=(0, 0), dtype=dtype, unusable=unusable)
        found = Tensor(shape=tuple(tensor.shape), dtype=dtype, unusable=unusable, **_place(tensor, dtype))
        self._tensors[mark(found)] = tensor
        return found


def _place(tensor: torch.Tensor, dtype: str) -> dict[str, Any]:
    """Where a tensor's values are: equal for two that are one in memory."""
    if tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel():
        return {"storage": Storage(key=f"tensor {id(tensor)}", dtype=dtype, size=0)}
    storage = Storage(key=f"storage {tensor.untyped_storage().data_ptr()}", dtype=dtype, size=0)
    return {"storage": storage, "offset": tensor.storage_offset(), "stride": tensor.stride()}


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    """Its values as numbers in their places."""
    values = tensor.detach()
    values = _dequantised(values) if values.is_quantized else values
    return values if values.layout is torch.strided else values.to_dense()


def _dequantised(tensor: torch.Tensor) -> torch.Tensor:
    """What codes stand for, in float64 as in files: torch rounds them to float32."""
    if not tensor.is_quantized:
        return tensor.dequantize()
    codes = tensor.int_repr().double()
    if tensor.qscheme() is torch.per_tensor_affine:
        return (codes - tensor.q_zero_point()) * tensor.q_scale()
    if tensor.qscheme() is torch.per_channel_affine:
        axis = tensor.q_per_channel_axis()
        shape = [-1 if each == axis else 1 for each in range(codes.ndim)]
        zero, scale = tensor.q_per_channel_zero_points(), tensor.q_per_channel_scales()
        return (codes - zero.double().reshape(shape)) * scale.double().reshape(shape)
    return tensor.dequantize()


def _is_key(key: Any) -> bool:
    return isinstance(key, (str, int))


def _is_known(parametrization: parametrize.ParametrizationList) -> bool:
    """Whether what is stored of it says what it makes."""
    (first, *others) = parametrization
    return not others and (isinstance(first, KNOWN) or RECORD in dict(first.named_buffers(recurse=False)))
