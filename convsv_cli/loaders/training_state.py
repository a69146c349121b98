"""What trainings with convsv once left in checkpoints beside the weights, known by its names.

The directions of `LipschitzPenalty`, `CurvatureLoss` and `limit_norm` were in every `state_dict` that these
were a part of: "penalty.unfoldings.0.kept_0", [blocks, rows, 3]. No network multiplies by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")
NOTE = "also holds the training state of convsv ({} and so on): no weights"
_DIRECTIONS = re.compile(r"(?:^|\.)_?unfoldings\.(?:\d+\.)?kept(?:_\d+)*$")


def is_training_state(name: object) -> bool:
    """Whether a tensor of this name is such a direction."""
    return isinstance(name, str) and _DIRECTIONS.search(name) is not None


def without_training_state(tensors: Mapping[Key, Value]) -> dict[Key, Value]:
    """All others."""
    return {name: tensor for name, tensor in tensors.items() if not is_training_state(name)}


def notes_on(names: Iterable[object]) -> tuple[str, ...]:
    """What to say where some of the names are of directions."""
    first = next(filter(is_training_state, names), None)
    return () if first is None else (NOTE.format(repr(first)),)
