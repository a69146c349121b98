"""What `forward` is fed: which parameters are inputs, and of which sizes, which the file does not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from convsv_cli.errors import UsageError
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.torchscript.tree import Function, Item, Name, Parameter, UnfollowedError
from convsv_cli.model.network import InputSize

AXES = (1, 2, 3)
MOST_TRIED = 3
"""Numbers of channels, where only the other sizes are asked for."""
UNSAID = "its code does not say the size of its input: pass it, as in {}"
TAKEN = "the input {!r} is {}, with as many channels as {} takes: the file does not say"
AS_TRACED = "the input {!r} has the shape that it was traced with, except for a size that was asked for"
AT_DEFAULT = "{!r} is left at its default"
Sizes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Fed:
    """The inputs, as far as they are known.

    Attributes:
        shapes: by name.
        kinds: their types, likewise, where the file says them.
        assumed: what was taken for granted.
    """

    shapes: Sizes
    kinds: Mapping[str, torch.dtype] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


def attempts(
    forward: Function, asked: InputSize, tensors: Mapping[str, StoredTensor], traced: Sequence[torch.Tensor]
) -> Iterator[Fed]:
    """What the inputs may be, the most likely first.

    Args:
        forward: the function.
        asked: what the user asks for.
        tensors: of the archive.
        traced: what it was traced with, without values; nothing where that is not known.

    Raises:
        UnfollowedError: it takes something else than tensors, or nothing says of which sizes.
        UsageError: an input is asked for that it does not take.
    """
    told = dict(asked.shapes)
    parameters = forward.parameters[1:]
    inputs = [each for each in parameters if each.default is None or each.name in told]
    kept = tuple(AT_DEFAULT.format(each.name) for each in parameters if each not in inputs)
    if unknown := told.keys() - {each.name for each in parameters if _is_tensor(each)}:
        raise UsageError(
            f"forward takes no tensor called {min(unknown)!r}",
            hint=f"it takes {', '.join(each.name for each in parameters) or 'nothing'}",
        )
    if strange := [each.name for each in inputs if not _is_tensor(each)]:
        raise UnfollowedError(f"forward takes {strange[0]!r}, which is no tensor, and has no default")
    if not inputs:
        raise UnfollowedError("forward takes no tensor")
    missing = [each.name for each in inputs if each.name not in told]
    known = (
        dict(zip((each.name for each in inputs), traced, strict=False)) if len(inputs) == len(traced) else {}
    )
    kinds = {name: each.dtype for name, each in known.items()}
    if len(missing) == len(inputs) == 1 and asked.sample is not None:
        told, missing = {missing[0]: (1, *asked.sample)}, []
    if known or not missing:
        shapes = {each.name: told.get(each.name) or _resized(known[each.name], asked) for each in inputs}
        yield Fed(shapes=shapes, kinds=kinds, assumed=(*map(AS_TRACED.format, missing), *kept))
        return
    guesses = list(_by_channels(asked, tensors))[:MOST_TRIED] if len(inputs) == 1 else []
    if not guesses:
        raise UnfollowedError(UNSAID.format(_options(missing, tensors)))
    for shape, name in guesses:
        taken = TAKEN.format(missing[0], "x".join(map(str, shape)), name)
        yield Fed(shapes={missing[0]: shape}, assumed=(taken, *kept))


def _resized(traced: torch.Tensor, asked: InputSize) -> tuple[int, ...]:
    """As it was traced, with the spatial sizes that are asked for."""
    shape = tuple(traced.shape)
    return (*shape[:2], *(asked.for_axes(len(shape) - 2) or shape[2:])) if len(shape) > 2 else shape


def _options(missing: list[str], tensors: Mapping[str, StoredTensor]) -> str:
    """What says the sizes of inputs."""
    by_shape = " ".join(f"--input-shape {name}:1x3x32x32" for name in missing[:2])
    axes = {len(tensor.shape) - 2 for tensor in tensors.values() if tensor.usage is not None}
    return f"--input-size 32, or {by_shape}" if len(missing) == 1 and axes & set(AXES) else by_shape


def types(tensors: Mapping[str, StoredTensor]) -> tuple[torch.dtype, torch.dtype]:
    """What inputs may be of, the most likely first: the type of the weights, and that of places in tables."""
    kinds = (
        each.dtype for each in tensors.values() if each.dtype in {"float32", "float64", "float16", "bfloat16"}
    )
    first: torch.dtype = getattr(torch, next(kinds, "float32"))
    return first, torch.int64


def _is_tensor(parameter: Parameter) -> bool:
    tensor = Name("Tensor")
    return parameter.kind in {tensor, Item(Name("Optional"), tensor)}


def _by_channels(
    asked: InputSize, tensors: Mapping[str, StoredTensor]
) -> Iterator[tuple[tuple[int, ...], str]]:
    """Shapes of one sample, with as many channels as one convolution takes, which is named."""
    seen = set[tuple[int, ...]]()
    for name, tensor in tensors.items():
        axes = len(tensor.shape) - 2
        spatial = asked.for_axes(axes) if axes > 0 and tensor.usage is not None else None
        if spatial is None or tensor.usage is None or not tensor.usage.applicable:
            continue
        geometry = tensor.usage.geometry
        channels = tensor.shape[0] if geometry.transposed else tensor.shape[1] * geometry.groups
        if (1, channels, *spatial) not in seen:
            seen.add((1, channels, *spatial))
            yield (1, channels, *spatial), name.removesuffix(".weight")
