"""Whether figures of two audits may be compared: of one file, or made with the same effort."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain

from convsv_cli.report import Audit, Settings


def same_model(old: Audit, new: Audit) -> bool:
    """Whether both are of the same files, bit for bit."""
    known = bool(old.model.sha256) and len(old.model.files) == len(new.model.files)
    return known and old.model.sha256 == new.model.sha256


def same_sizes(old: Audit, new: Audit) -> bool:
    """Whether the networks' inputs have the same sizes, as far as these are known of both."""
    before, after = ([shape for _, shape in audit.model.input_shape] for audit in (old, new))
    if not before or not after:
        return True
    if list(map(len, before)) != list(map(len, after)):
        return False
    sizes = zip(chain.from_iterable(before), chain.from_iterable(after), strict=True)
    return all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)


def same_range(old: Audit, new: Audit) -> bool:
    """Whether the entries of the networks' inputs are known to be in the same range."""
    return old.settings.input_range == new.settings.input_range


def with_effort(asked: Settings, known: Settings) -> Settings:
    """The settings, with tolerance and work limit of an earlier audit, as far as it had a limit."""
    limit = known.work_limit if math.isfinite(known.work_limit) else asked.work_limit
    return replace(asked, tolerance=known.tolerance, work_limit=limit)


def unequal_effort(old: Audit, new: Audit) -> str:
    """What makes the bounds of two networks differ where the networks do not; empty for nothing."""
    if old.version != new.version:
        return f"bounds of convsv {old.version or 'of an unknown version'} and {new.version}"
    asked = {
        "--tolerance": (old.settings.tolerance, new.settings.tolerance),
        "--work-limit": (old.settings.work_limit, new.settings.work_limit),
        "--exact": (old.settings.exact, new.settings.exact),
    }
    other = [f"{option} {_said(a)} and {_said(b)}" for option, (a, b) in asked.items() if a != b]
    return f"bounds with {', '.join(other)}" if other else ""


def _said(value: float) -> str:
    return ("off", "on")[value] if isinstance(value, bool) else f"{value:g}"
