"""Samples with their true classes, from a .npz file of which nothing is executed, and their normalization."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from convsv_cli.digits import short
from convsv_cli.empirical.npz import arrays_of
from convsv_cli.empirical.points import LARGEST, SCALED, UNSCALED, are_pixels, otherwise_arranged, spread
from convsv_cli.errors import UsageError
from convsv_cli.missing import nothing_at
from convsv_cli.renderers.numbers import as_written
from convsv_cli.report import CertifySettings

IMAGES = ("x", "x_test", "images", "inputs")
LABELS = ("y", "y_test", "labels", "targets")
BYTES_SCALED = f"bytes 0 to {LARGEST} were divided by {LARGEST}"
BYTES_KEPT = f"bytes 0 to {LARGEST} were taken as they are, because the options are on that scale"
MOVED = "the channels of the samples come last; they were moved to the front, where the network expects them"
EITHER = "the samples may have their channels first or last; first was assumed"
BRIGHT = "the samples go from {} to {}, and were taken as they are: pixels are usually divided by 255"
NEGATIVE = "the samples go from {} to {} before the normalization: if already normalized, use --normalized"
PLAUSIBLE = 16
"""Images beyond this are hardly ever meant to be scaled."""
EXPLAIN = f"samples in one of {', '.join(IMAGES)} and true classes in one of {', '.join(LABELS)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Arrays as the file has them, but for the type.

    Attributes:
        x: floats [n, ..]; bytes 0 to 255 have become 0 to 1, but where such are asked for.
        y: int64 [n].
        notes: what was done to them.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def fitted(self, shape: tuple[int, ...], where: str = "") -> Samples:
        """The samples [n, *shape]: an axis of one channel may be missing, and channels may come last.

        Args:
            shape: what the network takes, of one sample.
            where: the file that they are from.

        Whatever changes the order of their entries is noted.

        Raises:
            UsageError: they do not fit.
        """
        seen = self.x.shape[1:]
        last = len(seen) == len(shape) and (*seen[-1:], *seen[:-1]) == shape
        if seen == shape:
            either = last and len(shape) > 2 and max(shape) > 1
            return replace(self, notes=(*self.notes, EITHER)) if either else self
        if [size for size in seen if size > 1] == [size for size in shape if size > 1]:
            return replace(self, x=self.x.reshape(-1, *shape))
        if last:
            moved = np.ascontiguousarray(np.moveaxis(self.x, -1, 1))
            return replace(self, x=moved, notes=(*self.notes, MOVED))
        raise UsageError(
            f"the samples are {'x'.join(map(str, seen))}, and the network takes {'x'.join(map(str, shape))}",
            where=where,
            hint=otherwise_arranged(seen, shape),
        )


def samples_in(path: Path, limit: int | None = None, asked: CertifySettings | None = None) -> Samples:
    """The first `limit` samples of a file.

    Args:
        path: of the file.
        limit: None for all.
        asked: what is known of the inputs of the network, by which unscaled images are noticed.

    Raises:
        UsageError: it is no .npz file of samples and classes, they do not fit together, or the samples are
            images that nobody has scaled.
    """
    found = _arrays(path)
    x, y = (_named(found, names, path) for names in (IMAGES, LABELS))
    y = _classes(y, path)
    if x.ndim < 2 or len(x) != len(y) or not len(x):
        what = f"samples {_shape(x)} and classes {_shape(y)} do not fit together"
        raise UsageError(what, where=str(path), hint="there has to be one class for each sample")
    asked = asked or CertifySettings(data=str(path))
    x, notes = _as_floats(x[:limit], asked, path)
    odd = ~np.isfinite(x).reshape(len(x), -1).all(1)
    if odd.any():
        what = (
            f"its samples hold NaN or infinity: {int(odd.sum()):,} of {len(x):,}, the first at {odd.argmax()}"
        )
        raise UsageError(what, where=str(path), hint="leave these out")
    return Samples(x=x, y=y[:limit].astype(np.int64), notes=(*notes, *_doubts(x, asked, path)))


def _classes(y: NDArray[Any], path: Path) -> NDArray[Any]:
    """One whole number per sample; a column of them will do, as Keras has them."""
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim == 2:
        what = f"its classes are a table of {y.shape[1]} columns, one per class: not one number per sample"
        raise UsageError(what, where=str(path), hint="save y.argmax(1)")
    if y.ndim != 1:
        what = f"its classes are an array of {y.ndim} axes: not one number per sample"
        raise UsageError(what, where=str(path))
    if y.dtype.kind not in "iu":
        whole = y.dtype.kind == "b" or (y.dtype.kind == "f" and bool((y == np.rint(y)).all()))
        hint = "save y.astype(int)" if whole else "classes count from 0"
        raise UsageError(f"its classes are of type {y.dtype}, not whole numbers", where=str(path), hint=hint)
    return y


def _as_floats(x: NDArray[Any], asked: CertifySettings, path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    if x.dtype == np.uint8:
        if _speaks_of_pixels(asked):
            return x.astype(np.float32), (BYTES_KEPT,)
        return x.astype(np.float32) / LARGEST, (BYTES_SCALED,)
    if x.dtype.kind != "f":
        hint = f"floats, or bytes 0 to {LARGEST}: divide the others by the largest that there can be"
        raise UsageError(f"its samples are of type {x.dtype}", where=str(path), hint=hint)
    return x if x.dtype == np.float64 else x.astype(np.float32), ()


def _doubts(x: NDArray[Any], asked: CertifySettings, path: Path) -> Iterator[str]:
    """What to say of samples that may be on another scale than the network's inputs.

    Raises:
        UsageError: they are, as far as anybody can tell, and no option says otherwise.
    """
    some = spread(x)
    lower, upper = float(some.min(initial=0)), float(some.max(initial=0))
    if asked.normalized or _speaks_of_pixels(asked):
        return
    if are_pixels(x):
        what = f"its samples are floats, but look like pixels of 0 to {LARGEST}"
        raise UsageError(what, where=str(path), hint=f"{UNSCALED}; if they are as intended, use --normalized")
    if x.ndim > 2 and lower >= 0 and PLAUSIBLE < upper <= LARGEST + 1:
        yield BRIGHT.format(short(lower, 4), short(upper, 4))
    if lower < 0 and any(mean > 0 for mean in asked.input_mean):
        yield NEGATIVE.format(short(lower, 4), short(upper, 4))


def _speaks_of_pixels(asked: CertifySettings) -> bool:
    """Whether the options are about inputs that go to 255: a range, means and deviations are."""
    figures = (*(asked.input_range or ()), *asked.input_mean, *asked.input_std)
    return any(abs(figure) >= SCALED for figure in figures)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise nothing_at(UsageError, path, f"--data must be a .npz file: {EXPLAIN}")
    return arrays_of(path, EXPLAIN, (*IMAGES, *LABELS))


def _named(found: dict[str, NDArray[Any]], names: Sequence[str], path: Path) -> NDArray[Any]:
    present = [name for name in names if name in found]
    if len(present) != 1:
        what = f"{'several' if present else 'no'} array named one of {', '.join(names)}"
        raise UsageError(what, where=str(path), hint=EXPLAIN)
    return found[present[0]]


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """(x - mean) / std, with one entry or one per channel; empty for no normalization.

    Attributes:
        done: the data have been through it.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    done: bool = False

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Samples [n, channels, ..] as the network takes them."""
        if self.done or not (self.mean or self.std):
            return x
        mean, std = (_per_channel(values, x) for values in (self.mean or (0.0,), self.std or (1.0,)))
        return np.asarray((x - mean) / std, dtype=x.dtype)

    def undone(self, x: NDArray[Any]) -> torch.Tensor:
        """Samples [n, channels, ..] before it, float64: `x` itself, unless it has been through it."""
        found = torch.from_numpy(np.asarray(x, dtype=np.float64))
        if not self.done or not (self.mean or self.std):
            return found
        mean, std = (_per_channel(values, x) for values in (self.mean or (0.0,), self.std or (1.0,)))
        return torch.from_numpy(x * std + mean)

    @property
    def largest_scale(self) -> float:
        """By how much it lengthens differences at most."""
        return 1 / min(self.std, default=1.0)

    def scales(self, channels: int) -> NDArray[np.float64]:
        """How long a difference of 1 in each channel becomes: [channels]."""
        return np.broadcast_to(1 / np.array(self.std or (1.0,)), (channels,))


def normalization_of(settings: CertifySettings, shape: tuple[int, ...]) -> Normalization:
    """As asked for.

    Raises:
        UsageError: it does not fit samples of this shape.
    """
    channels = shape[0] if shape else 1
    for name, values in (("mean", settings.input_mean), ("std", settings.input_std)):
        if len(values) not in (0, 1, channels):
            own = f"{channels} channel{'' if channels == 1 else 's'}"
            raise UsageError(f"--input-{name} has {len(values)} entries, but the input has {own}")
    return Normalization(mean=settings.input_mean, std=settings.input_std, done=settings.normalized)


def check_classes(y: NDArray[np.int64], classes: int, where: str) -> None:
    """See that the network has the classes that samples are said to be of.

    Raises:
        UsageError: it does not.
    """
    first, last = int(y.min()), int(y.max())
    if first < 0 or last >= classes:
        what = f"its classes range from {first} to {last}, but the network has {classes}"
        ones = first == 1 and last == classes
        hint = "classes count from 0" + (
            ": save y - 1" if ones else ", in the order of the network's outputs"
        )
        raise UsageError(what, where=where, hint=hint)


def check_range(x: torch.Tensor, box: tuple[float, float] | None, option: str, where: str) -> None:
    """See that samples are in a range that radii are to hold in.

    Raises:
        UsageError: they are not.
    """
    lower, upper = float(x.min()), float(x.max())
    if box is not None and not box[0] <= lower <= upper <= box[1]:
        left = f"its samples leave the range {as_written(box[0])} to {as_written(box[1])}"
        hint = f"give {option} as a range that holds them all"
        raise UsageError(f"{left}: they go from {short(lower)} to {short(upper)}", where=where, hint=hint)


def _shape(array: NDArray[Any]) -> str:
    return "x".join(map(str, array.shape))


def _per_channel(values: tuple[float, ...], x: NDArray[Any]) -> NDArray[np.float64]:
    return np.array(values).reshape(-1, *(1 for _ in x.shape[2:]))
