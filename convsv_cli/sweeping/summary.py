"""A sweep in short: a row per file, those far above the others, and what becomes of numbered files."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from convsv_cli.comparison.trends import growth
from convsv_cli.report.sweep import Series, Step, Sweep, Swept
from convsv_cli.sweeping.columns import File
from convsv_cli.sweeping.outcomes import outcomes_in
from convsv_cli.sweeping.tables import file_of
from convsv_cli.version import __version__

FEW = 5
"""Figures of which none is far above the others."""
DECADES, DEVIATIONS = 1.0, 5.0
"""How far above the median a figure is an outlier: ten times, and so many times what others are off it."""
STEPS = 3
"""Files that make a series."""
NUMBER = re.compile(r"[0-9]{1,18}(?=[^0-9]*$)")
"""The last one in a path."""


def summary_of(results: Path) -> Sweep:
    """What is in the results' folder of a sweep.

    Raises:
        UsageError: it is none.
    """
    files = tuple(_marked([_swept(file_of(outcome)) for outcome in outcomes_in(results)]))
    return Sweep(version=__version__, path=str(results), files=files, series=tuple(_series(files)))


def _swept(file: File) -> Swept:
    audit, largest = file.audit, file.largest
    found = Swept(
        path=file.path,
        status=file.status,
        same_as=file.same_as,
        reason=file.reason.removeprefix(f"{file.path}: "),
        exit_code=file.exit_code,
    )
    if audit is None:
        return found
    return replace(
        found,
        layers=len(audit.layers),
        audited=audit.audited,
        largest_layer=largest[0] if largest else "",
        largest=_finite(largest[1] if largest else None),
        bound=audit.bound.status,
        lipschitz=_finite(audit.bound.lipschitz),
        log10=_finite(audit.bound.log10),
    )


def _marked(files: Sequence[Swept]) -> Iterator[Swept]:
    """The files, and in which way some are far above the others."""
    norms = _far("largest norm", files, lambda file: math.log10(file.largest) if file.largest else None)
    bounds = _far("bound of the network", files, lambda file: file.log10)
    for file, *said in zip(files, norms, bounds, strict=True):
        yield replace(file, outlier="; ".join(filter(None, said)))


def _far(what: str, files: Sequence[Swept], log10: Callable[[Swept], float | None]) -> Iterator[str]:
    """For each file how far its figure is above the median of all; empty where it is not far.

    Far is ten times or more, and five times the median of how far all are off, in decades: where networks of
    all sizes are in one folder, none of them stands out by its size.
    """
    logs = [log10(file) for file in files]
    known = [value for value in logs if value is not None]
    middle = median(known) if known else 0.0
    usual = median(abs(value - middle) for value in known) if known else 0.0
    least = max(DECADES, DEVIATIONS * usual)
    for value in logs:
        above = 0.0 if value is None else value - middle
        is_far = len(known) >= FEW and above >= least
        yield f"{what} 10^{above:.1f} times the median" if is_far else ""


def _series(files: Iterable[Swept]) -> Iterator[Series]:
    """Files whose paths differ in their last number, where enough of them have an audit."""
    groups: dict[str, list[Step]] = {}
    for file in files:
        number = NUMBER.search(file.path)
        if file.bound and number:
            name = f"{file.path[: number.start()]}*{file.path[number.end() :]}"
            groups.setdefault(name, []).append(Step(number=int(number[0]), file=file))
    for name, found in sorted(groups.items()):
        if len(found) >= STEPS:
            steps = tuple(sorted(found, key=lambda step: step.number))
            norms = tuple(step.file.largest for step in steps)
            bounds = tuple(step.file.lipschitz for step in steps)
            yield Series(name=name, steps=steps, norms=growth(norms), bounds=growth(bounds))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
