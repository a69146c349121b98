"""The named tensors in a training checkpoint, whatever it wraps them in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
AVERAGES = ("ema_state_dict", "model_ema", "params_ema", "state_dict_ema", "ema_model", "ema")
_TRAINING = re.compile(
    r"optim(?!al)|sched|scaler|callback|random|hparam|hyper|config|(?<![a-z])(?:loops?|loss|rng|(?:kw)?args?)(?![a-z])",
    re.IGNORECASE,
)
_TRANSPARENT = re.compile(r"^(?:(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)+")
MAX_DEPTH = 8


def unwrap(checkpoint: Any) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:  # noqa: ANN401
    """The tensors by name, and notes on what was left out.

    A wrapper such as "state_dict" is opened, the first in the order of `WRAPPERS`; averaged weights only
    where there is nothing better. Several networks side by side keep their keys as prefixes.
    """
    tensors, left_out = _open(checkpoint, depth=0)
    averages = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in AVERAGES}
    if any(tensor.ndim >= 2 for name, tensor in tensors.items() if name not in averages):
        tensors = {name: tensor for name, tensor in tensors.items() if name not in averages}
        left_out += dict.fromkeys(name.partition(".")[0] for name in averages)
    notes = tuple(f"also holds {name!r}: not audited" for name in left_out)
    return _without_prefix(tensors), notes


def _open(value: Any, depth: int) -> tuple[dict[str, torch.Tensor], list[str]]:  # noqa: ANN401
    if not isinstance(value, Mapping) or depth > MAX_DEPTH:
        return {}, []
    items = {key: item for key, item in value.items() if isinstance(key, str)}
    for wrapper in (*WRAPPERS, *AVERAGES):
        inside, left_out = _open(items.get(wrapper), depth + 1)
        if inside:
            others = [key for key, item in items.items() if key != wrapper and _holds_weights(key, item)]
            return inside, left_out + others
    tensors = {key: item for key, item in items.items() if isinstance(item, torch.Tensor)}
    left_out = []
    for key, item in items.items():
        if isinstance(item, Mapping) and _holds_weights(key, item):
            nested, others = _open(item, depth + 1)
            tensors |= {f"{key}.{name}": tensor for name, tensor in nested.items()}
            left_out += [f"{key}.{name}" for name in others]
    return tensors, left_out


def _holds_weights(key: str, item: Any) -> bool:  # noqa: ANN401
    """Whether it is a matrix, or a mapping with some in it, that is not the state of the training."""
    if _TRAINING.search(key) or (isinstance(item, Mapping) and {"state", "param_groups"} <= item.keys()):
        return False
    return any(tensor.ndim >= 2 for tensor in _tensors(item, depth=0))


def _tensors(value: Any, depth: int) -> Iterator[torch.Tensor]:  # noqa: ANN401
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping) and depth < MAX_DEPTH:
        for item in value.values():
            yield from _tensors(item, depth + 1)


def _without_prefix(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names without what wrappers around the network put in front, as long as they stay unique."""
    names = [_TRANSPARENT.sub("", name) for name in tensors]
    if all(name.startswith("model.") for name in names):
        names = [_TRANSPARENT.sub("", name.removeprefix("model.")) for name in names]
    if len(set(names)) < len(tensors):
        return tensors
    return dict(zip(names, tensors.values(), strict=True))
