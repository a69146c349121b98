"""PyTorch modules: the names that they have without wrappers, their linear maps, and what else holds weights.

A matrix that torch stores in one piece is one map: the query, key and value of attention, the gates of a
recurrent layer. So it is in an audit, too. A matrix has the norm of its transpose, in which form `Conv1D` of
the transformers library keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.optim.swa_utils import AveragedModel

from convsv_cli.errors import UsageError
from convsv_cli.model.layer import Geometry

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
SCALES = ("weight", "bias")
"""What a normalisation has of its own."""
PARTS = ("_g", "_v", "_orig", "_bar", "_u", "_mask")
"""Endings of what hooks of torch.nn.utils make a weight of."""
KERNELS = ("weight", "kernel", "filter")
"""What tensors are called that multiply otherwise than element by element, though shaped as vectors."""
PARAMETRISATIONS = "parametrizations"


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of DataParallel, torch.compile and the like."""
    if isinstance(model, WRAPPERS):
        return unwrapped(model.module)
    inner = next((each for name in INNER if isinstance(each := getattr(model, name, None), nn.Module)), None)
    return model if inner is None else unwrapped(inner)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model as in evaluation, without gradients; then each of its modules has its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def modules_of(model: nn.Module, *, parts: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Every module by name in the order of the model, under each of its names.

    Wrappers are left out wherever they stand, and have no part in names. So are the modules that parametrise
    a weight, unless such `parts` are wanted.
    """
    inside: dict[str, str] = {}  # names as they are, to those without wrappers
    wrapped: set[str] = set()
    for name, module in model.named_modules(remove_duplicate=False):
        above, _, own = name.rpartition(".")
        if (own == PARAMETRISATIONS and not parts) or (name and above not in inside):
            continue
        within = inside.get(above, "")
        plain = within if not name or above in wrapped else f"{within}.{own}".lstrip(".")
        inside[name] = plain
        if unwrapped(module) is not module:
            wrapped.add(name)
        else:
            yield plain, module


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
            f"{name} is not a linear map: it consists of several", hint="LipschitzPenalty counts each of them"
        )
    if not maps:
        raise UsageError(f"{name} is not a Linear or convolution layer")
    return maps["weight"]


def check_padding(layer: nn.Module, geometry: Geometry) -> None:
    """See that a layer pads with zeros, or around by no more than its kernel's extent.

    Raises:
        UsageError: what it does instead may itself amplify.
    """
    mode = getattr(layer, "padding_mode", "zeros")
    if mode == "zeros":
        return
    if mode != "circular":
        raise UsageError(f"{mode} padding amplifies by itself", hint="use zeros or circular padding")
    padding: Any = layer.padding
    pads = padding if isinstance(padding, tuple) else ()
    extent = [d * (k - 1) for d, k in zip(geometry.dilation, weight_of(layer).shape[2:], strict=True)]
    if any(2 * int(pad) > most for pad, most in zip(pads, extent, strict=False)):
        raise UsageError("circular padding beyond the kernel's extent amplifies by itself")


def weight_of(module: nn.Module, parameter: str = "weight") -> torch.Tensor:
    """What the module multiplies by now, with any parametrisation.

    Raises:
        UsageError: it is no layer with a weight; a lazy one has none yet, or one on the meta device.
    """
    hooked = _by_hook(module, parameter)
    if hooked is not None:
        return hooked
    weight = getattr(module, parameter, None)
    if weight is None:
        raise UsageError(
            f"{type(module).__name__} has no {parameter} of its own",
            hint="pass one of its layers, or see audit(module) for all",
        )
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


def tensors_in(module: nn.Module) -> dict[str, torch.Tensor]:
    """What may be a weight of the module alone: by name its parameters, and buffers called weights.

    Weight and bias of a normalisation are none: they scale and shift. A parameter with parametrisations is
    there as the first of its parts that has most axes, and parts that a hook of torch.nn.utils puts together
    have names of their own.
    """
    found: dict[str, torch.Tensor] = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    found |= {name: each for name, each in module.named_buffers(recurse=False) if "weight" in name}
    if parametrize.is_parametrized(module):
        parts = module.get_submodule(PARAMETRISATIONS).named_children()
        found |= {name: each for name, part in parts if (each := _most_axes(part.parameters())) is not None}
    if isinstance(module, NORMALISATIONS):
        return {name: each for name, each in found.items() if name not in SCALES}
    return found


def is_matrix(name: str, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether a tensor of a module multiplies otherwise than element by element, for all that one can see.

    A vector may be stored with two or more axes of length one if nothing calls it a kernel, and a scale has a
    bias of its own shape.
    """
    shape = _shape(tensors[name])
    if shape is None:
        return True
    bias = tensors.get(f"{name.removesuffix('weight')}bias") if name.endswith("weight") else None
    is_scale = bias is not None and _shape(bias) == shape
    is_kernel = any(word in name for word in KERNELS)
    is_vector = len(shape) > 2 and sum(size != 1 for size in shape) <= 1 and not is_kernel
    return len(shape) >= 2 and not is_scale and not is_vector


def _most_axes(tensors: Iterable[torch.Tensor]) -> torch.Tensor | None:
    """The first of those with most axes: of a weight_norm, whose length may be a scalar, the direction."""
    return max(tensors, key=lambda each: len(_shape(each) or ()), default=None)


def _shape(tensor: torch.Tensor) -> torch.Size | None:
    """None where a lazy module has not made it yet."""
    return None if isinstance(tensor, nn.UninitializedParameter) else tensor.shape


def has_packed_weights(module: nn.Module) -> bool:
    """Whether its weights are no tensors: as a quantised module of torch, it gives them by a method."""
    return any(callable(getattr(module, name, None)) for name in ("weight", "get_weight"))
