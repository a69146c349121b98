"""Samples with their true classes, from a .npz file; nothing in it is executed."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convsv_cli.errors import UsageError

IMAGES = ("x", "x_test", "images", "inputs")
LABELS = ("y", "y_test", "labels", "targets")
MOST = 2**33
"""Bytes of an array that is read."""
LARGEST_PIXEL = 255
EXPLAIN = f"samples in one of {', '.join(IMAGES)} and true classes in one of {', '.join(LABELS)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Arrays as the file has them, but for the type.

    Attributes:
        x: floats [n, ..]; bytes 0 to 255 have become 0 to 1.
        y: int64 [n].
        notes: what was done to them.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def shape_like(self, declared: Sequence[int | str]) -> tuple[int, ...]:
        """The shape of a sample, as an input takes it of which some sizes are open."""
        seen = self.x.shape[1:]
        moved = (*seen[-1:], *seen[:-1])
        for shape in (seen, moved, (1, *seen)):
            if len(shape) == len(declared) and all(
                known == size for known, size in zip(declared, shape, strict=True) if isinstance(known, int)
            ):
                return shape
        return seen

    def fitted(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The samples [n, *shape]: an axis of one channel may be missing, and channels may come last.

        Raises:
            UsageError: they do not fit.
        """
        seen = self.x.shape[1:]
        if seen == shape:
            return self.x
        if [size for size in seen if size > 1] == [size for size in shape if size > 1]:
            return self.x.reshape(-1, *shape)
        if len(seen) == len(shape) and (*seen[-1:], *seen[:-1]) == shape:
            return np.ascontiguousarray(np.moveaxis(self.x, -1, 1))
        raise UsageError(
            f"the samples are {'x'.join(map(str, seen))}, and the network takes {'x'.join(map(str, shape))}"
        )


def samples_in(path: Path, limit: int | None = None) -> Samples:
    """The first `limit` samples of a file.

    Raises:
        UsageError: it is no .npz file of samples and classes, or they do not fit together.
    """
    found = _arrays(path)
    x, y = (_named(found, names, path) for names in (IMAGES, LABELS))
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y  # as Keras has them
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y) or not len(x):
        raise UsageError(f"{x.shape} samples and {y.shape} classes do not belong together", where=str(path))
    if y.dtype.kind not in "iu":
        raise UsageError(f"its classes are of {y.dtype}, not whole numbers", where=str(path))
    x, notes = _as_floats(x[:limit], path)
    if not np.isfinite(x).all():
        raise UsageError("its samples hold NaN or infinity", where=str(path))
    return Samples(x=x, y=y[:limit].astype(np.int64), notes=notes)


def _as_floats(x: NDArray[Any], path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    if x.dtype == np.uint8:
        return x.astype(np.float32) / LARGEST_PIXEL, ("bytes 0 to 255 were divided by 255",)
    if x.dtype.kind != "f":
        raise UsageError(f"its samples are of {x.dtype}", where=str(path), hint="floats, or bytes 0 to 255")
    return x if x.dtype == np.float64 else x.astype(np.float32), ()


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise UsageError("no such file", where=str(path), hint=f"--data wants a .npz file: {EXPLAIN}")
    with _blaming(path), zipfile.ZipFile(path) as archive:
        entries = [(entry.filename.removesuffix(".npy"), entry.file_size) for entry in archive.infolist()]
    wanted = {name: size for name, size in entries if name in (*IMAGES, *LABELS)}
    if sum(size for name, size in entries if name in wanted) > MOST:
        raise UsageError("its arrays are larger than 8 GB", where=str(path), hint="split it")
    with _blaming(path), path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        found = {name: file[name] for name in wanted}
        odd = [name for name, value in found.items() if not isinstance(value, np.ndarray)]
        if odd:
            raise ValueError(odd[0])  # a member that is no .npy file
    return found


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """What is wrong in an archive or in the head of an array has many types, and messages of programmers."""
    try:
        yield
    except MemoryError as error:
        raise UsageError("its arrays do not fit into memory", where=str(path), hint="split it") from error
    except Exception as error:
        raise UsageError("no .npz file with arrays of numbers", where=str(path), hint=EXPLAIN) from error


def _named(found: dict[str, NDArray[Any]], names: Sequence[str], path: Path) -> NDArray[Any]:
    present = [name for name in names if name in found]
    if len(present) != 1:
        what = f"{'several' if present else 'no'} array named one of {', '.join(names)}"
        raise UsageError(what, where=str(path), hint=EXPLAIN)
    return found[present[0]]
