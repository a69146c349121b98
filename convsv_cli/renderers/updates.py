"""The columns of an adapter's table: what the norms of its updates do not say."""

from __future__ import annotations

from convsv_cli.renderers.numbers import figure, percent
from convsv_cli.report import UPPER, Interval, Update

LEGEND = {
    "stable rank": "how many directions the update changes, in effect: |D|_F² / |D|²",
    "base": "the norm of the weight that is changed",
    "share ≤": "the update's norm over that",
    "merged ≤": "the norm of the sum is not larger",
}
"""What the columns are, for people."""


def update_words(update: Update | None) -> str:
    """What an adapter does to a layer: the kind, the rank, and what the factors are multiplied by."""
    if update is None:
        return ""
    rank = "" if update.rank is None else f" rank {update.rank}"
    return f"{update.kind}{rank} ×{figure(abs(update.scale))}"


def update_details(update: Update) -> list[str]:
    """All that is known of an update, one thing an entry, where there are no columns for it."""
    known = {"stable rank": update.stable_rank, "merged ≤": update.merged}
    figures = [f"{name} {_end(interval)}" for name, interval in known.items() if interval]
    share = [f"≤ {_share_of_base(update)} of its base's {_end(update.base_norm)}"] if update.share else []
    return [update_words(update), *share, *figures]


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
    return percent(update.share.upper, UPPER) if update and update.share else ""
