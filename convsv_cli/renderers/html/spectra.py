"""Histograms of singular values."""

from __future__ import annotations

from dataclasses import dataclass

from convsv_cli.renderers.html.words import size
from convsv_cli.renderers.numbers import counted, figure
from convsv_cli.report import Distribution, Spectrum

TOP = 100


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """A layer's singular values: an outline, one unit a bin and `TOP` high, and the same in words."""

    layer: str
    title: str
    words: str
    bins: int
    outline: str
    middle: str
    end: str
    facts: tuple[tuple[str, str], ...]


def histograms_of(spectra: tuple[Spectrum, ...]) -> tuple[Histogram, ...]:
    """In the spectra's order."""
    return tuple(map(_histogram, spectra))


def _histogram(spectrum: Spectrum) -> Histogram:
    found = spectrum.distribution
    n = f", n {size(spectrum.size)}" if spectrum.size else ""
    smallest = "0" if found.vanishing else figure(found.smallest)
    most = max(range(len(found.histogram)), key=found.histogram.__getitem__)
    ends = [figure(found.edge * i / len(found.histogram)) for i in (most, most + 1)]
    return Histogram(
        layer=spectrum.layer,
        title=f"{counted(found.count, 'singular value')}{n}",
        words=f"{counted(found.count, 'singular value')} from {smallest} to {figure(found.largest)}; "
        f"most of them, {found.histogram[most]:,}, from {ends[0]} to {ends[1]}",
        bins=len(found.histogram),
        outline=_outline(found.histogram),
        middle=figure(found.edge / 2),
        end=figure(found.edge),
        facts=_facts(found, smallest),
    )


def _outline(counts: tuple[int, ...]) -> str:
    """A path along the tops of the bins; a bin that is not empty is seen."""
    most = max(counts) or 1
    tops = [TOP - max(1.5, TOP * count / most) if count else TOP for count in counts]
    return f"M0 {TOP}" + "".join(f"V{top:.4g}h1" for top in tops) + f"V{TOP}z"


def _facts(found: Distribution, smallest: str) -> tuple[tuple[str, str], ...]:
    condition = f"{found.vanishing:,} vanish" if found.vanishing else figure(found.condition)
    return (
        ("largest", figure(found.largest)),
        ("smallest", smallest),
        ("root mean square", figure(found.rms)),
        ("stable rank", figure(found.stable_rank)),
        ("condition number", condition),
    )
