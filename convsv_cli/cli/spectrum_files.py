"""Files of singular values: NumPy archives and CSV, written while the values stream by."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from convsv_cli.cli.files import blaming, check_replaceable, replacement
from convsv_cli.errors import UsageError
from convsv_cli.sanitize import printable, spreadsheet_cell

if TYPE_CHECKING:
    from convsv_cli.auditing.spectra import Keeper
    from convsv_cli.spectral.spectrum import Block


def check_outputs(outputs: tuple[Path, ...], model: Path) -> None:
    """Complain before any work is done.

    Raises:
        UsageError: a file that cannot be written, has no telling suffix, or is the model itself.
    """
    for path in outputs:
        if path.suffix.lower() not in FORMATS:
            raise UsageError("the suffix tells no format", where=str(path), hint="use .npz or .csv")
        check_replaceable(path, [model])


@contextmanager
def keepers(outputs: tuple[Path, ...]) -> Iterator[list[Keeper]]:
    """A keeper for each file; the files are replaced when the block ends, unless by an exception."""
    with ExitStack() as stack:
        yield [stack.enter_context(_keeper(path)) for path in outputs]


@contextmanager
def _keeper(path: Path) -> Iterator[Keeper]:
    with replacement(path) as file, FORMATS[path.suffix.lower()](path, file) as keeper:
        yield keeper


@contextmanager
def _csv(path: Path, file: BinaryIO) -> Iterator[Keeper]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield _Csv(path, text)
    finally:
        with blaming(path):
            text.detach()


@contextmanager
def _npz(path: Path, file: BinaryIO) -> Iterator[Keeper]:
    archive = zipfile.ZipFile(file, "w", allowZip64=True)
    try:
        yield _Npz(path, archive)
    finally:
        with blaming(path):
            archive.close()


class _Csv:
    """A row for each value and how often it occurs, in the order in which they are computed."""

    def __init__(self, path: Path, text: io.TextIOWrapper) -> None:
        self._path = path
        self._writer = csv.writer(text, lineterminator="\n")
        self._layer = ""
        with blaming(path):
            self._writer.writerow(("layer", "singular_value", "multiplicity"))

    def begin(self, layer: str, count: int) -> None:  # noqa: ARG002
        self._layer = spreadsheet_cell(layer)

    def add(self, block: Block) -> None:
        rows = zip(block.values.tolist(), block.multiplicity.tolist(), strict=True)
        with blaming(self._path):
            self._writer.writerows((self._layer, value, times) for row, times in rows for value in row)

    def end(self) -> None:
        """Rows need no end."""


class _Npz:
    """A float64 array a layer, descending, each value as often as it occurs; only one is held at a time."""

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
        with blaming(self._path), self._archive.open(entry, "w", force_zip64=True) as file:
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
