"""CSV: a row a sample, in the order of the data."""

from __future__ import annotations

import csv
import io
import math

from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Certification, SampleRadius

HEADER = ("sample", "label", "predicted", "correct", "radius", "broken_at")


def render(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """The document; `broken_at` is empty where no attack was tried or none succeeded, `radius` in full."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(_row(index, sample) for index, sample in enumerate(certification.samples))
    return file.getvalue()


def _row(index: int, sample: SampleRadius) -> tuple[int | float | str, ...]:
    broken = sample.broken
    return (
        index,
        sample.label,
        sample.predicted,
        str(sample.correct).lower(),
        sample.radius,
        "" if broken is None or math.isinf(broken) else broken,
    )
