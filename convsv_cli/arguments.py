"""Arguments of the public functions, checked; each value comes back in one form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from convsv_cli.errors import UsageError
from convsv_cli.report import ARITHMETICS, CLIP_METHODS, EFFORTS, LOCAL_EFFORTS, NORMS, Settings

Size = int | Sequence[int]
"""The same for every axis, or one entry per axis."""


def pads(padding: Size, axes: int) -> tuple[int, ...]:
    """Before each axis, then after each; from one number, from one per axis, or as it is."""
    each = (padding,) * axes if isinstance(padding, int) else tuple(padding)
    each = each * 2 if len(each) == axes else each
    if not axes or len(each) != 2 * axes or min(each) < 0:
        raise UsageError(f"the padding {padding} does not fit a kernel with {axes} spatial axes")
    return each


def output_padding(further: Size, axes: int, *, transposed: bool) -> tuple[int, ...]:
    """One number per axis; empty for none."""
    each = (further,) * axes if isinstance(further, int) else tuple(further)
    if not any(each):
        return ()
    if not transposed or len(each) != axes or min(each) < 0:
        raise UsageError(
            f"the output padding {further} does not fit a transposed kernel with {axes} spatial axes"
        )
    return each


def check(settings: Settings) -> None:
    """See that the numbers of settings are in their ranges.

    Raises:
        UsageError: one is not.
    """
    tolerance(settings.tolerance)
    work_limit(settings.work_limit)
    input_range(settings.input_range)
    network_effort(settings.network_effort)


def shapes(given: Mapping[str, Sequence[int]] | None) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """By the names of inputs."""
    return tuple((name, tuple(shape)) for name, shape in (given or {}).items())


def tolerance(value: float) -> float:
    """Positive and finite."""
    if not 0 < value < math.inf:
        raise UsageError(f"the tolerance must be a positive number, not {value}")
    return value


def limit(count: int | None) -> int | None:
    """Of samples, 1 or more; None for all."""
    if count is not None and count < 1:
        raise UsageError(f"the limit must be 1 or more, not {count}")
    return count


def normalization(mean: Sequence[float], std: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Finite means, and positive standard deviations."""
    if not all(0 < each < math.inf for each in std) or not all(map(math.isfinite, mean)):
        raise UsageError("standard deviations must be positive, and means finite")
    return tuple(mean), tuple(std)


def work_limit(value: float) -> float:
    """0 or more."""
    if not value >= 0:
        raise UsageError(f"the work limit must be 0 or more, not {value}")
    return value


def input_range(value: tuple[float, float] | None) -> tuple[float, float] | None:
    """Two finite numbers in order, or none."""
    if value is not None and not -math.inf < value[0] <= value[1] < math.inf:
        raise UsageError(f"the input range must be two numbers, the smaller one first, not {value}")
    return value


def network_effort(name: str) -> str:
    """One of `EFFORTS`."""
    return _one_of(EFFORTS, name, "effort for the network")


def arithmetic(name: str | None) -> str:
    """One of `ARITHMETICS`, or none."""
    return _one_of(ARITHMETICS, name, "arithmetic") if name else ""


def norm(name: str) -> str:
    """One of `NORMS`."""
    return _one_of(NORMS, name, "norm")


def local_effort(name: str) -> str:
    """One of `LOCAL_EFFORTS`."""
    return _one_of(LOCAL_EFFORTS, name, "effort")


def clip_method(name: str) -> str:
    """One of `CLIP_METHODS`."""
    return _one_of(CLIP_METHODS, name, "method")


def _one_of(names: Sequence[str], name: str, what: str) -> str:
    if name not in names:
        raise UsageError(f"the {what} must be one of {', '.join(names)}, not {name!r}")
    return name


def sizes(size: Size) -> tuple[int, ...]:
    """Positive; one number stays alone."""
    found = (size,) if isinstance(size, int) else tuple(size)
    if not found or min(found) < 1:
        raise UsageError(f"sizes must be positive, not {size}")
    return found


def per_axis(size: Size, axes: int) -> tuple[int, ...]:
    """One positive number per axis."""
    found = sizes(size) * axes if isinstance(size, int) else sizes(size)
    if len(found) != axes:
        raise UsageError(f"{found} does not fit a kernel with {axes} spatial axes")
    return found


def radius(given: float | str) -> float:
    """Positive and finite: 0.5, or "0.5", or "36/255".

    Raises:
        UsageError: it is none.
    """
    try:
        numerator, _, denominator = str(given).partition("/")
        found = float(numerator) / float(denominator or 1)
    except (ValueError, ZeroDivisionError, OverflowError):
        found = math.nan
    if not 0 < found < math.inf:
        raise UsageError(f"invalid radius {given!r}: use 0.5 or 36/255")
    return found


def radii(eps: float | str | Sequence[float | str]) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Positive, ascending, each once; and how each was written."""
    listed = (eps,) if isinstance(eps, (int, float, str)) else tuple(eps)
    if not listed:
        raise UsageError("at least one radius is needed")
    found = {radius(each): each if isinstance(each, str) else repr(each) for each in reversed(listed)}
    values = sorted(found)
    return tuple(values), tuple(found[value] for value in values)
