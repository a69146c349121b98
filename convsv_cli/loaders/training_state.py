"""What trainings with convsv once left in checkpoints beside the weights, known by its names and shapes.

The directions of `LipschitzPenalty`, `CurvatureLoss` and `limit_norm` were in every `state_dict` that these
were a part of: "penalty.unfoldings.0.kept_0", [blocks, rows, 3]. No network multiplies by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")
NOTE = "also holds the training state of convsv ({} and so on): no weights"
_NAME = re.compile(r"(?:^|\.)_?unfoldings\.(?:\d+\.)?kept(?:_\d+)*$")
_AXES, _COLUMNS = 3, 3


def training_state(tensors: Mapping[Key, Value]) -> list[Key]:
    """The names of all such directions."""
    return [name for name, tensor in tensors.items() if is_direction(name, tensor)]


def without_training_state(tensors: Mapping[Key, Value]) -> dict[Key, Value]:
    """All others."""
    return {name: tensor for name, tensor in tensors.items() if not is_direction(name, tensor)}


def notes_on(directions: Iterable[str]) -> tuple[str, ...]:
    """What to say where there are any."""
    first = next(iter(directions), None)
    return () if first is None else (NOTE.format(repr(first)),)


def is_direction(name: object, tensor: object) -> bool:
    """Whether a tensor is one, by its name and shape."""
    shape: Sequence[int] = getattr(tensor, "shape", ())
    named = isinstance(name, str) and _NAME.search(name) is not None
    return named and len(shape) == _AXES and shape[-1] == _COLUMNS
