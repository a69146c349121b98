"""What a sweep over many model files has found, a row per file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What became of a file.

    Attributes:
        path: as it was found.
        status: `audited`, `incomplete` (some layers have no figures), `failed`, `same` as another, or `gone`.
        same_as: the path of the same file under which it was audited; empty where it is that itself.
        reason: why it failed, or is incomplete; empty where it is neither.
        exit_code: of `convsv audit`.
        layers: rows of the audit.
        audited: those with figures.
        largest_layer: the layer of the largest certified norm; empty where there is none.
        largest: that norm.
        bound: `bounded`, `unbounded` or `unknown`; empty where there is no audit.
        lipschitz: the certified bound of the network; None where there is none, or it is no finite number.
        log10: its logarithm.
        outlier: in which way it is far above the others; empty where it is not.
    """

    path: str
    status: str
    same_as: str = ""
    reason: str = ""
    exit_code: int = 0
    layers: int = 0
    audited: int = 0
    largest_layer: str = ""
    largest: float | None = None
    bound: str = ""
    lipschitz: float | None = None
    log10: float | None = None
    outlier: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A file of a series, and its number."""

    number: int
    file: Swept


@dataclass(frozen=True, kw_only=True)
class Series:
    """Files whose paths differ in their last number alone, such as the epochs of a training.

    Attributes:
        name: the path, with * for the number.
        steps: in the order of the numbers.
        norms: the last of the largest norms as a multiple of the first; None where there is no such number.
        bounds: likewise, of the networks' bounds.
    """

    name: str
    steps: tuple[Step, ...]
    norms: float | None
    bounds: float | None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All that a sweep has found.

    Attributes:
        version: of convsv.
        path: the folder of the results.
        files: by path.
        series: by name.
    """

    version: str
    path: str
    files: tuple[Swept, ...]
    series: tuple[Series, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many files have each status."""
        return dict(sorted(Counter(file.status for file in self.files).items()))

    @property
    def outliers(self) -> tuple[Swept, ...]:
        """The files that are far above the others, the largest norm first."""
        found = [file for file in self.files if file.outlier]
        return tuple(sorted(found, key=lambda file: -(file.largest or 0.0)))
