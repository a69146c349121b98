"""Constants of a graph, and which of their entries a channel of another tensor meets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from convsv_cli.lipschitz.density.lowering.views import NoRowError, View
from convsv_cli.model.graph import Graph, UnknownValueError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 2**26  # entries of a constant that is looked at


def values_of(graph: Graph, tensor: str, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """The values of a constant, an array of its shape.

    Args:
        graph: that it is in.
        tensor: its name.
        shape: as the graph knows it.

    Raises:
        NoRowError: it is none, or has too many entries, or some that are no finite numbers.
    """
    read = graph.reader(tensor)
    if read is None or math.prod(size or 0 for size in shape) > LARGEST:
        raise NoRowError
    try:
        values = read()
    except UnknownValueError as error:
        raise NoRowError from error
    if values.dtype.kind not in "fiub" and "float" not in values.dtype.name:
        raise NoRowError
    found = values.astype(np.float64)
    if not np.isfinite(found).all():
        raise NoRowError
    return found


def extremes(
    values: NDArray[np.float64], view: View, rank: int, channels: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and largest of the entries that meet each channel of a tensor: two of [channels].

    Args:
        values: of a constant, of a shape that is broadcast.
        view: of the tensor.
        rank: how many axes the tensor has.
        channels: of its field.
    """
    aligned, axis = values.reshape(-1)[:, None], 1
    if values.ndim <= rank:
        aligned, axis = values.reshape((1,) * (rank - values.ndim) + values.shape), view.channel_axis(rank)
    if view.flat and aligned.shape[1] > 1:
        aligned = aligned.reshape(len(aligned), channels, -1)
    others = tuple(i for i in range(aligned.ndim) if i != axis)
    least, largest = (
        torch.from_numpy(np.broadcast_to(end(axis=others), (channels,)).copy())
        for end in (aligned.min, aligned.max)
    )
    return least, largest
