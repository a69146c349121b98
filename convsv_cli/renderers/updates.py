"""The columns of an adapter's table: what the norms of its updates do not say."""

from __future__ import annotations

from convsv_cli.renderers.numbers import figure, percent
from convsv_cli.report import UPPER, Interval, Update


def update_words(update: Update | None) -> str:
    """What an adapter does to a layer: the kind, the rank, and what the factors are multiplied by."""
    if update is None:
        return ""
    rank = "" if update.rank is None else f" rank {update.rank}"
    return f"{update.kind}{rank} ×{figure(abs(update.scale))}"


def update_columns(updates: list[Update | None]) -> dict[str, list[str]]:
    """What the norms of updates do not say; without a base, only how many directions they have."""
    cells = {"stable rank": [_end(update.stable_rank if update else None) for update in updates]}
    if any(update and update.base_norm for update in updates):
        cells["base"] = [_end(update.base_norm if update else None) for update in updates]
        cells["share ≤"] = [_share_of_base(update) for update in updates]
        cells["merged ≤"] = [_end(update.merged if update else None) for update in updates]
    return cells


def _end(interval: Interval | None) -> str:
    """The upper end of an interval that is narrow as a rule."""
    return figure(interval.upper, UPPER) if interval else ""


def _share_of_base(update: Update | None) -> str:
    return percent(update.share.upper) if update and update.share else ""
