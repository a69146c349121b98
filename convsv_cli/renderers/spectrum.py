"""The singular values of layers: a few figures and a histogram of each layer, and all of them in files."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import click

from convsv_cli import limits
from convsv_cli.errors import UsageError
from convsv_cli.names import inert, printable, spreadsheet_cell
from convsv_cli.renderers import json
from convsv_cli.renderers.audit_text import described
from convsv_cli.renderers.numbers import counted, figure, size, times
from convsv_cli.renderers.renderer import BLOCKS, Renderer, Terminal
from convsv_cli.report import Distribution, LayerAudit, LayerSpectrum, Spectra

if TYPE_CHECKING:
    from convsv_cli.spectral.spectrum import Block

HELD = 2**26
"""Bytes of a block of singular values, each as often as it occurs."""
WIDTH, NARROWEST_BAR = 80, 8
NOTE = "to about 1e-13 of the largest value, not certified; convolutions with circular padding, at size n"


def _table(spectra: Spectra, terminal: Terminal) -> str:
    """The document, which ends with a line break; texts from the file are made inert here, and only here."""
    spectra = inert(spectra)
    lines = [" · ".join(described(spectra.path, spectra.format, spectra.opset, spectra.inputs))]
    for spectrum in spectra.layers:
        lines += ["", *_layer(spectrum, terminal)]
    notes = [f"note: {note}" for note in spectra.notes]
    return "\n".join([*lines, "", *notes, NOTE]) + "\n"


def _layer(spectrum: LayerSpectrum, terminal: Terminal) -> Iterator[str]:
    row, found = spectrum.row, spectrum.distribution
    name = row.name
    yield " · ".join(
        [click.style(name, bold=True) if terminal.color else name, *_geometry(row, spectrum.size)]
    )
    if found is None:
        yield f"  not computed: {row.reason}"
        return
    for line in row.assumed:
        yield f"  assumed: {line}"
    if row.input_size and spectrum.size not in ((), row.input_size):
        yield f"  the input size is {size(row.input_size)}: circular padding needs a multiple of the stride"
    yield from _figures(found)
    if found.largest:
        yield from _histogram(found, min(terminal.width or WIDTH, 4 * WIDTH), blocks=terminal.blocks)


def _geometry(row: LayerAudit, n: tuple[int, ...]) -> Iterator[str]:
    extras = {"stride": row.stride, "dilation": row.dilation, "groups": (row.groups,)}
    said = [f" {name} {size(value)}" for name, value in extras.items() if set(value) - {1}]
    yield f"{row.op} {times(row.kernel_shape)}{''.join(said)}"
    if n:
        yield f"n {size(n)}"


def _figures(found: Distribution) -> Iterator[str]:
    """The figures, in lines of less than 80 characters."""
    smallest = "0" if found.vanishing else figure(found.smallest)
    yield f"  {counted(found.count, 'singular value')}, from {smallest} to {figure(found.largest)}" + _zeros(
        found
    )
    yield (
        f"  rms {figure(found.rms)} · Frobenius norm {figure(found.frobenius)} · "
        f"nuclear norm {figure(found.nuclear)} · stable rank {figure(found.stable_rank)}"
    )


def _zeros(found: Distribution) -> str:
    if found.vanishing:
        return f"; {found.vanishing:,} of them zero"
    return f"; condition number {figure(found.condition)}"


def _histogram(found: Distribution, width: int, *, blocks: bool) -> Iterator[str]:
    """A line per bin: its ends, a bar, its count."""
    bins = len(found.histogram)
    ends = [figure(found.edge * i / bins) for i in range(bins + 1)]
    counts = [f"{count:,}" for count in found.histogram]
    end_width, count_width = max(map(len, ends)), max(map(len, counts))
    room = max(NARROWEST_BAR, width - 2 * end_width - count_width - 9)
    for i, count in enumerate(found.histogram):
        bar = _bar(count / max(found.histogram), room, blocks=blocks)
        line = f"  {ends[i]:>{end_width}} - {ends[i + 1]:>{end_width}}  {counts[i]:>{count_width}} {bar}"
        yield line.rstrip()


def _bar(share: float, room: int, *, blocks: bool) -> str:
    """So much of the room; anything but nothing is seen."""
    if not blocks:
        return "#" * (max(1, round(share * room)) if share else 0)
    eighths = max(1, round(share * room * 8)) if share else 0
    return "█" * (eighths // 8) + BLOCKS[eighths % 8].strip()


RENDERERS: tuple[Renderer[Spectra], ...] = (
    Renderer(name="table", suffixes=(), render=_table),
    Renderer(name="json", suffixes=(), render=json.render),
)


class Keeper(Protocol):
    """Takes all singular values, layer by layer, and writes them to a file."""

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
        self._writer.writerows((self._layer, value, count) for row, count in rows for value in row)

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
        limits.hold(8 * count + HELD, f"the {count:,} singular values, all of which .npz needs at once,")
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


KEEPERS: dict[str, Callable[[Path, BinaryIO], AbstractContextManager[Keeper]]] = {".npz": _npz, ".csv": _csv}
"""By suffix: what takes the values, for a path that errors name, and writes them to an open file."""
