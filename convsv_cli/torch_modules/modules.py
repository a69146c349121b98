"""The modules of a model under the names that they have without wrappers, and what holds weights unseen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel

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
    bias of its shape beside it.
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
