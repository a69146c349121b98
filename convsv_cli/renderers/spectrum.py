"""The singular values of layers: as text, a few figures and a histogram per layer, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator

import click

from convsv_cli.names import inert
from convsv_cli.renderers import json
from convsv_cli.renderers.audit_text import described
from convsv_cli.renderers.numbers import counted, figure, size, times
from convsv_cli.renderers.renderer import BLOCKS, Renderer, Terminal
from convsv_cli.report import Distribution, LayerAudit, LayerSpectrum, Spectra

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
