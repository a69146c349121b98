"""The linear maps inside one PyTorch module: which of its parameters it multiplies by, and how.

A matrix that torch stores in one piece is one map: the query, key and value of attention, the gates of a
recurrent layer. So it is in an audit, too. A matrix has the norm of its transpose, in which form `Conv1D` of
the transformers library keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Geometry

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def linear_maps(module: nn.Module) -> dict[str, Geometry]:
    """How the module applies each parameter that it multiplies by; empty where that is not known.

    Paddings are left out, for no norm here depends on them.
    """
    if isinstance(module, CONVOLUTIONS + TRANSPOSED):
        settings: Any = module
        geometry = Geometry(
            stride=tuple(settings.stride),
            dilation=tuple(settings.dilation),
            groups=settings.groups,
            transposed=isinstance(module, TRANSPOSED),
        )
        return {"weight": geometry}
    return dict.fromkeys(_matrices(module), Geometry())


def geometry_of(module: nn.Module) -> Geometry:
    """How the weight of a module is applied that is one linear map, and nothing else.

    Raises:
        UsageError: the module is something else.
    """
    name, maps = type(module).__name__, linear_maps(module)
    if maps and list(maps) != ["weight"]:
        raise UsageError(
            f"{name} is no linear map: it is made of several", hint="LipschitzPenalty counts each of them"
        )
    if not maps:
        raise UsageError(f"{name} is no Linear or convolution layer")
    return maps["weight"]


def weight_of(module: nn.Module, parameter: str = "weight") -> torch.Tensor:
    """What the module multiplies by now, with any parametrisation.

    Raises:
        UsageError: a lazy module has no weight yet, or one on the meta device.
    """
    hooked = _by_hook(module, parameter)
    if hooked is not None:
        return hooked
    weight = getattr(module, parameter)
    made = isinstance(weight, torch.Tensor) and not isinstance(weight, nn.UninitializedParameter)
    if not made or weight.is_meta:
        raise UsageError("a layer has no weight yet", hint="run the model on a batch first")
    found: torch.Tensor = weight
    return found


def unknown_form(weight: torch.Tensor) -> str:
    """The type or layout that has no norm here; "" of a dense array of real numbers."""
    form = weight.dtype if weight.dtype not in DTYPES else weight.layout
    return "" if form is torch.strided else str(form).removeprefix("torch.")


def _by_hook(module: nn.Module, parameter: str) -> torch.Tensor | None:
    """What a hook of torch.nn.utils makes of its parts; it leaves what they were at the last forward pass."""
    weight: torch.Tensor
    whole, mask = (getattr(module, parameter + part, None) for part in ("_orig", "_mask"))
    if isinstance(whole, torch.Tensor) and isinstance(mask, torch.Tensor):
        return whole * mask
    for hook in module._forward_pre_hooks.values():  # noqa: SLF001  (torch has no other way to them)
        if isinstance(hook, WeightNorm) and hook.name == parameter:
            weight = hook.compute_weight(module)
            return weight
        if isinstance(hook, SpectralNorm) and hook.name == parameter:
            weight = hook.compute_weight(module, do_power_iteration=False)
            return weight
    return None


def _matrices(module: nn.Module) -> Iterator[str]:
    """Names of the parameters that are matrices."""
    if isinstance(module, nn.Linear) or _is_conv1d_of_transformers(module):
        yield "weight"
    elif isinstance(module, nn.MultiheadAttention):
        apart = module.in_proj_weight is None
        yield from ("q_proj_weight", "k_proj_weight", "v_proj_weight") if apart else ("in_proj_weight",)
    elif isinstance(module, nn.RNNCellBase):
        yield from ("weight_ih", "weight_hh")
    elif isinstance(module, nn.RNNBase):
        kinds = ("ih", "hh", "hr") if module.proj_size else ("ih", "hh")
        ways = ("", "_reverse") if module.bidirectional else ("",)
        for layer in range(module.num_layers):
            yield from (f"weight_{kind}_l{layer}{way}" for way in ways for kind in kinds)


def _is_conv1d_of_transformers(module: nn.Module) -> bool:
    """Whether it is x W + b with W [in, nf]; known by its form, for the library need not be there."""
    weight = getattr(module, "weight", None)
    return (
        any(kind.__name__ == "Conv1D" for kind in type(module).__mro__)
        and isinstance(weight, torch.Tensor)
        and weight.ndim == 2
        and weight.shape[1] == getattr(module, "nf", None)
    )
