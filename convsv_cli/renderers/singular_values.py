"""All singular values of layers as a NumPy archive or CSV, written while they are computed."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from convsv_cli.errors import UsageError
from convsv_cli.names import printable, spreadsheet_cell

if TYPE_CHECKING:
    from convsv_cli.spectral.spectrum import Block


class Keeper(Protocol):
    """Takes singular values, layer by layer."""

    def begin(self, layer: str, count: int) -> None:
        """This many values of the layer follow."""

    def add(self, block: Block) -> None:
        """Some of them, in no order."""

    def end(self) -> None:
        """That was the layer's last block."""


@contextmanager
def _csv(_path: Path, file: BinaryIO) -> Iterator[Keeper]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield _Csv(text)
    finally:
        text.detach()


@contextmanager
def _npz(path: Path, file: BinaryIO) -> Iterator[Keeper]:
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        yield _Npz(path, archive)


class _Csv:
    """A row for each value and how often it occurs, in the order in which they are computed."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._writer = csv.writer(text, lineterminator="\n")
        self._layer = ""
        self._writer.writerow(("layer", "singular_value", "multiplicity"))

    def begin(self, layer: str, count: int) -> None:  # noqa: ARG002
        self._layer = spreadsheet_cell(layer)

    def add(self, block: Block) -> None:
        rows = zip(block.values.tolist(), block.multiplicity.tolist(), strict=True)
        self._writer.writerows((self._layer, value, times) for row, times in rows for value in row)

    def end(self) -> None:
        """Rows need no end."""


class _Npz:
    """One float64 array per layer, descending, each value as often as it occurs; one is held at a time."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        import numpy as np

        self._path, self._archive = path, archive
        self._array = np.empty(0)
        self._layer, self._filled = "", 0

    def begin(self, layer: str, count: int) -> None:
        import numpy as np

        self._layer, self._filled = layer, 0
        try:
            self._array = np.empty(count)
        except MemoryError as error:
            what = f"the {count:,} singular values of {layer} do not fit into memory, as .npz needs"
            raise UsageError(what, where=str(self._path), hint="use .csv or fewer layers") from error

    def add(self, block: Block) -> None:
        stop = self._filled + block.count
        values = block.values.repeat_interleave(block.multiplicity, dim=0)
        self._array[self._filled : stop] = -values.flatten().numpy()  # negative, so that they sort descending
        self._filled = stop

    def end(self) -> None:
        import numpy as np

        self._array.sort()
        np.negative(self._array, out=self._array)
        entry = zipfile.ZipInfo(self._member())  # of no particular time: equal runs give equal files
        with self._archive.open(entry, "w", force_zip64=True) as file:
            np.lib.format.write_array(file, self._array)
        self._array = np.empty(0)

    def _member(self) -> str:
        """The layer's name as it is printed; unique, and no path that leads out of where it is unpacked."""
        parts = ["__" if part == ".." else part for part in printable(self._layer).split("/")]
        name, taken = "/".join(parts), set(self._archive.namelist())
        while f"{name}.npy" in taken:
            name += "_"
        return f"{name}.npy"


FORMATS: dict[str, Callable[[Path, BinaryIO], AbstractContextManager[Keeper]]] = {".npz": _npz, ".csv": _csv}
"""By suffix: what takes the values, for a path that errors name, and writes them to an open file."""
