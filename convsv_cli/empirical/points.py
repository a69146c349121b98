"""Where a network is tried: at random points, or at the user's data, which must be on the network's scale."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convsv_cli.empirical.npz import arrays_of, shapes_of
from convsv_cli.errors import UsageError
from convsv_cli.renderers.numbers import as_written

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convsv_cli.empirical.function import Function, Port

POINTS = 64
ROUNDING = 1e-6  # of data in single precision at the ends of a range
EXPLAIN = "arrays [samples, ...] named as the inputs, or a single one"
LARGEST = 255
FEW = 1000
"""Samples that are looked at, from all over the array: more would add nothing new."""
BRIGHT, VECTOR = 128, 64
"""A vector is taken for an image if it has `VECTOR` entries and one of them is at least `BRIGHT`."""
SCALED = 2
"""What is scaled stays below; so do means and deviations of what is."""
UNSCALED = f"divide them by {LARGEST}; if the network takes 0 to {LARGEST}, use --input-range 0,{LARGEST}"


def random_points(function: Function, box: tuple[float, float] | None, seed: int) -> NDArray[np.float64]:
    """[POINTS, n]: uniform in a box, else standard normal."""
    generator = np.random.default_rng(seed)
    shape = POINTS, function.size
    points = generator.standard_normal(shape) if box is None else generator.uniform(*box, shape)
    return function.rounded(points)


def from_file(
    function: Function, path: Path, box: tuple[float, float] | None, seed: int
) -> NDArray[np.float64]:
    """At most POINTS samples [p, n] of a .npz file, drawn at random; sets what is not real to its first.

    Raises:
        UsageError: arrays are missing, do not fit, hold NaN or infinity, leave the box, or are, without a
            box, images that nobody has scaled.
    """
    arrays = _arrays(path, function)
    samples = {port.name: _samples(arrays[port.name], port, path) for port in function.real}
    if box is None and any(map(are_pixels, samples.values())):
        what = f"its arrays look like pixels of 0 to {LARGEST}"
        raise UsageError(what, where=str(path), hint=UNSCALED)
    count = min(map(len, samples.values()))
    if max(map(len, samples.values())) != count:
        raise UsageError("its arrays have different numbers of samples", where=str(path))
    for port in function.ports:
        if not port.real and port.name in arrays:
            function.fixed[port.name] = _samples(arrays[port.name], port, path)[0].astype(port.dtype)
    chosen = np.random.default_rng(seed).permutation(count)[:POINTS]
    flat = [samples[port.name][chosen].reshape(len(chosen), -1).astype(np.float64) for port in function.real]
    points = function.rounded(np.concatenate(flat, axis=1))
    if not np.isfinite(points).all():
        raise UsageError("its arrays hold NaN or infinity", where=str(path))
    if box is not None:
        inside = points.clip(*box)
        if not np.allclose(points, inside, rtol=0, atol=ROUNDING * max(map(abs, box))):
            hint = f"divide them by {LARGEST}" if any(map(are_pixels, samples.values())) else ""
            what = f"its arrays leave the range {as_written(box[0])} to {as_written(box[1])}"
            raise UsageError(what, where=str(path), hint=hint)
        points = inside
    return points


def shapes_in(path: Path, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays for inputs.

    Raises:
        UsageError: see `from_file`.
    """
    shapes = shapes_of(path, EXPLAIN)
    return {name: shapes[array] for name, array in _named(path, names, shapes).items()}


def _arrays(path: Path, function: Function) -> Mapping[str, NDArray[Any]]:
    """By input; arrays for others than real ones are there where the file has them."""
    named = _named(path, [port.name for port in function.real], shapes_of(path, EXPLAIN))
    further = {port.name: port.name for port in function.ports if port.name not in named}
    found = arrays_of(path, EXPLAIN, [*named.values(), *further.values()])
    return {name: found[array] for name, array in (named | further).items() if array in found}


def _named(path: Path, names: Sequence[str], found: Collection[str]) -> dict[str, str]:
    """Which array is for which of these inputs: a single one is for the only one, whatever its name."""
    if len(found) == len(names) == 1:
        return {names[0]: next(iter(found))}
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"no array for the input {missing[0]!r}", where=str(path), hint=EXPLAIN)
    return {name: name for name in names}


def _samples(array: NDArray[Any], port: Port, path: Path) -> NDArray[Any]:
    """[samples, *shape]: as many rows of the array each as the first axis of the input has."""
    rows = port.shape[0] if port.shape else 1
    fits = array.ndim >= 1 and array.shape[1:] == port.shape[1:] and len(array) >= rows > 0
    if not fits or array.dtype.kind not in "fiub":
        expected = "x".join(map(str, ("samples", *port.shape[1:])))
        seen = "x".join(map(str, array.shape)) or "a single number"
        what = f"the array for {port.name!r} is {seen} of {array.dtype}, not {expected} numbers"
        hint = otherwise_arranged(array.shape[1:], port.shape[1:])
        raise UsageError(what, where=str(path), hint=hint)
    return array[: len(array) // rows * rows].reshape(-1, *port.shape)


def spread(x: NDArray[Any]) -> NDArray[Any]:
    """Some of the samples [n, ..], evenly spaced: those that come first may be dark."""
    return x[:: -(-len(x) // FEW) or 1]


def are_pixels(x: NDArray[Any]) -> bool:
    """Whether samples [n, ..] are whole numbers from 0 to 255, some beyond what a scaled image has."""
    some = spread(x)
    if not some.size or x.ndim < 2 or (x.ndim == 2 and x.shape[1] < VECTOR):
        return False
    least = BRIGHT if x.ndim == 2 else SCALED
    return bool(some.min() >= 0 and least <= some.max() <= LARGEST and (some == np.rint(some)).all())


def otherwise_arranged(seen: Sequence[int], shape: Sequence[int]) -> str:
    """What to do with samples of one shape where another is taken; empty where nothing helps."""
    if (*seen[-1:], *seen[:-1]) == tuple(shape):
        axes = 0, len(seen), *range(1, len(seen))
    elif (*seen[1:], *seen[:1]) == tuple(shape):
        axes = 0, *range(2, len(seen) + 1), 1
    else:
        return ""
    return f"its channels are on another axis: save x.transpose({', '.join(map(str, axes))})"
