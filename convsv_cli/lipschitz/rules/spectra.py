"""Discrete Fourier transforms, and those of windows that slide along a signal.

The transform F of length n has F*F = n I, and its inverse 1/n. Cropping before it, and leaving out
frequencies after it, amplify nothing; nor does padding by zeros. Frequencies of a real signal come in
conjugate pairs, of which `onesided` keeps one; the constant signal, at frequency 0, still has sqrt(n).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convsv_cli import limits
from convsv_cli.lipschitz.axis_matrices import DENSE, AxisMatrix
from convsv_cli.lipschitz.operands import first, integers, require_constant, size_of
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError
from convsv_cli.numerics.intervals import Range, outward_range
from convsv_cli.numerics.rounding import UP, UP_MANY, margin, root, times, up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Window = NDArray[np.float64]

SAMPLE = 32
"""Steps of the model's allowance for each sample of each frame."""


def transformed(operation: Operation) -> float:
    """DFT: sqrt(n); its inverse 1 / sqrt(n), or sqrt(2 / n) from one side, where most count twice.

    Exact unless the signal is padded, or one side alone is kept.
    """
    source = first(operation)
    gains = [_gain(operation, length) for length in _lengths(operation)]
    return times(max(gains), source.lipschitz)


def _gain(operation: Operation, length: int) -> float:
    if not operation.attribute("inverse", 0):
        return root(length)
    twice = operation.attribute("onesided", 0) and length > 2
    return math.sqrt((2 if twice else 1) / max(length, 1)) * UP


def _lengths(operation: Operation) -> list[int]:
    """How many frequencies there are; one for each axis that may be meant, where that is not known.

    Raises:
        UnboundedError: a size that it depends on is not known.
    """
    source, given, axis = operation.input(0), operation.optional(1), operation.optional(2)
    if given is not None and given.read is not None:
        return list(integers(operation, 1, "dft_length"))
    known = axis is None or axis.read is not None
    axes = [_axis(operation)] if known else range(len(source.sizes()) - 1)
    one_sided = bool(operation.attribute("onesided", 0))
    if given is None:
        sizes = [size_of(source, axis) for axis in axes]
        return (
            [2 * (size - 1) for size in sizes] if one_sided and operation.attribute("inverse", 0) else sizes
        )
    if one_sided and not operation.attribute("inverse", 0):
        return [2 * operation.output_shape()[axis] for axis in axes]
    return [operation.output_shape()[axis] for axis in axes]


def _axis(operation: Operation) -> int:
    """The axis of samples; the last one holds real and imaginary parts."""
    return -2 if operation.optional(2) is None else integers(operation, 2, "axis")[0]


def framed(operation: Operation) -> float:
    """STFT: sqrt(n) times the root of the largest sum of squares of the window that meet at a sample.

    For frames x_f, |F w x_f|^2 = n |w x_f|^2, where a sample counts with w^2 of each frame around it: exact
    for both sides. One side of a short real signal: the norm of the explicit matrix; of a complex one, which
    runtimes take as well, no frequency has another one that is its conjugate.
    """
    require_constant(operation, 1, 2, 3)
    window, size = _window(operation), size_of(operation.input(0), 1)
    step = 1 if operation.input(1).read is None else integers(operation, 1, "frame_step")[0]
    if step < 1:
        raise UnboundedError("its frame_step is not positive")
    count = max(0, size - len(window) + step) // step
    limits.spend(count * (limits.OBJECT + SAMPLE * len(window)), "the frames of a transform")
    limits.hold(8 * (size + count), "the frames of a transform")
    starts, met = np.arange(count, dtype=np.int64) * step, np.zeros(size)
    for start in starts:
        met[start : start + len(window)] += np.square(window)
    both = math.sqrt(len(window) * float(met.max(initial=0.0))) * up(len(starts) + 8)
    if not operation.attribute("onesided", 1) or _complex(operation):
        return times(both, operation.input(0).lipschitz)
    return times(min(both, _one_sided(window, starts, size)), operation.input(0).lipschitz)


def _complex(operation: Operation) -> bool:
    """Whether the samples are complex, or may be: pairs of numbers, along a third axis."""
    shape = operation.input(0).shape
    return shape is None or (len(shape) > 2 and shape[2] != 1)


def _one_sided(window: Window, starts: NDArray[np.int64], size: int) -> float:
    """The norm of the explicit matrix; infinite where that is too large."""
    length = len(window)
    kept = length // 2 + 1
    if 2 * kept * len(starts) * max(size, length) > DENSE or not length:
        return math.inf
    angles = np.outer(np.arange(kept), np.arange(length)) % length * (2 * np.pi / length)
    block = np.concatenate([np.cos(angles), np.sin(angles)]) * window
    rows = np.repeat(np.arange(len(starts) * 2 * kept), length)
    columns = (
        starts[:, None, None] + np.arange(length)[None, None, :] + np.zeros((1, 2 * kept, 1), int)
    ).ravel()
    return AxisMatrix(
        shape=(len(starts) * 2 * kept, size),
        rows=rows.astype(np.int64),
        columns=columns.astype(np.int64),
        weights=np.tile(block.ravel(), len(starts)),
        error=margin(16) * float(np.abs(window).max(initial=0.0)),
    ).norm()


def _window(operation: Operation) -> Window:
    """The window, float64 [n]; ones where there is none."""
    given = operation.optional(2)
    if given is not None:
        window = given.value().astype(np.float64).ravel()
        if not np.isfinite(window).all():
            raise UnboundedError("its window holds NaN or infinity")
        return window
    if operation.optional(3) is None:
        return np.ones(size_of(operation.input(0), 1))
    length = _frame_length(operation)
    limits.hold(8 * length, "the window of a transform")
    return np.ones(length)


def _frame_length(operation: Operation) -> int:
    """As it is given; of one that is held fixed, the largest that has as many frequencies."""
    if not operation.input(3).held:
        return integers(operation, 3, "frame_length")[0]
    kept = operation.output_shape()[2]
    return 2 * kept - 1 if operation.attribute("onesided", 1) else kept


def _spectrum_range(operation: Operation) -> Range:
    """Each frequency is a sum of n samples times numbers of length 1, over n for the inverse.

    Real and imaginary parts of a complex sample together are sqrt(2) times as large at most.
    """
    largest = math.sqrt(2) * operation.input(0).range.magnitude * UP_MANY
    if operation.attribute("inverse", 0):
        largest *= 2 if operation.attribute("onesided", 0) else 1
    else:
        largest *= max(_lengths(operation))
    return outward_range(-largest, largest)


def _framed_range(operation: Operation) -> Range:
    largest = (
        math.sqrt(2) * float(np.abs(_window(operation)).sum()) * operation.input(0).range.magnitude * UP_MANY
    )
    return outward_range(-largest, largest)


RULES = {
    "DFT": Rule(lipschitz=transformed, range=_spectrum_range),
    "STFT": Rule(lipschitz=framed, range=_framed_range),
}
