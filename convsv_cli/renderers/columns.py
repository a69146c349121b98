"""The columns of tables of layers, of adapters' updates and of attention's products, as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from convsv_cli.names import printable
from convsv_cli.renderers.numbers import enclosure, figure, percent, size, times
from convsv_cli.report import (
    AUDITED,
    EXACT,
    NOT_APPLICABLE,
    NOT_REACHED,
    UPPER,
    Audit,
    Interval,
    LayerAudit,
    Method,
    Product,
    Update,
)

TEXTS = ("layer", "op", "kernel", "update")
"""Columns that are read from the left."""
SPREAD = {
    "|W|F": "the root of the sum of the squares of the weight's entries, proven",
    "stable rank": "about how many singular values of a matrix matter, proven: (|W|F / norm)²",
    "smallest": "the smallest singular value of a matrix is in between; below 1e-5 of the norm, 0 may be the"
    " lower end",
}
"""Columns that are asked for, and what they prove."""
STATUSES = {NOT_APPLICABLE: "not applicable"}
"""Statuses that are other words where people read them."""
UPDATES = {
    "stable rank": "how many directions the update changes, in effect: |D|_F² / |D|²",
    "base": "the norm of the weight that is changed",
    "share ≤": "the update's norm over that",
    "merged ≤": "the norm of the sum is not larger",
}
"""What the columns are, for people."""
HEADINGS = {"qk": "Q·Kᵀ", "vo": "V·O"}
PRODUCTS = {
    "heads": "how many of them have been measured",
    "Q·Kᵀ ≤": "how strongly a head compares two tokens: the norm of the product of its matrices for"
    " queries and keys, before any rotation, scale or bias",
    "V·O ≤": "how much a head amplifies a token that it passes on: the norm of the product of its matrices"
    " for outputs and values",
    "head of": "the one with the largest norm, which is the figure; the first head is 0",
}
"""What the columns are, for people."""


def methods_of(audit: Audit) -> list[Method]:
    """The methods that ran and have a column."""
    ran = {name for layer in audit.layers for name, _ in layer.measurements}
    return [method for method in audit.methods if method.column and method.name in ran]


def columns(audit: Audit) -> dict[str, list[str]]:
    """The cells of each column, from left to right; a layer that was not audited says so below `bound`."""
    layers, methods = audit.layers, methods_of(audit)
    cells = {
        "layer": [printable(layer.name) for layer in layers],
        "op": [printable(layer.op) for layer in layers],
        "kernel": [_kernel(layer) for layer in layers],
        "stride": [size(layer.stride) for layer in layers],
        "n": [size(layer.input_size or ()) for layer in layers],
    }
    updates = any(layer.update for layer in layers)
    if updates:
        cells["update"] = [update_words(layer.update) for layer in layers]
    for method in methods:
        cells[method.column] = [_figure(layer, method) for layer in layers]
    exact, upper = (next((m for m in methods if m.kind == kind), None) for kind in (EXACT, UPPER))
    if exact and upper:
        cells[f"{upper.column}/{exact.column}"] = [_ratio(layer, upper, exact) for layer in layers]
    if updates:
        cells |= update_columns([layer.update for layer in layers])
    for name, found in spread_of(layers).items():
        others = cells.get(name, [""] * len(layers))  # updates of adapters have a stable rank of their own
        cells[name] = [enclosure(each) or other for each, other in zip(found, others, strict=True)]
    return cells


def spread_of(layers: Sequence[LayerAudit]) -> dict[str, list[Interval | None]]:
    """The columns of how singular values spread; none where no layer says."""
    found = [layer.spread for layer in layers]
    figures = [(each.frobenius, each.stable_rank, each.smallest) if each else (None,) * 3 for each in found]
    return dict(zip(SPREAD, map(list, zip(*figures, strict=True)), strict=True)) if any(found) else {}


def status(layer: LayerAudit) -> str:
    """What became of a layer."""
    if layer.reason == NOT_REACHED:
        return NOT_REACHED.partition(":")[0]
    return STATUSES.get(layer.status, layer.status)


def why_no_figures(layer: LayerAudit) -> str:
    """What became of it, and why; empty for a layer with figures."""
    if layer.status == AUDITED or layer.reason == NOT_REACHED:
        return layer.reason
    return f"{status(layer)}: {layer.reason}"


def _kernel(layer: LayerAudit) -> str:
    groups = f" groups {layer.groups}" if layer.groups > 1 else ""
    dilation = f" dilation {size(layer.dilation)}" if set(layer.dilation) - {1} else ""
    scheme = f" {layer.scheme}" if layer.scheme else ""
    return times(layer.kernel_shape) + groups + dilation + scheme


def _figure(layer: LayerAudit, method: Method) -> str:
    if layer.status != AUDITED:
        return status(layer) if method.kind == UPPER else ""
    measurement = layer.measurement(method.name)
    return figure(measurement.value, method.kind) if measurement else ""


def _ratio(layer: LayerAudit, above: Method, below: Method) -> str:
    upper, lower = layer.measurement(above.name), layer.measurement(below.name)
    return f"{upper.value / lower.value:.2f}" if upper and lower and lower.value else ""


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


def product_columns(products: Sequence[Product]) -> dict[str, list[str]]:
    """A row for each module of attention: its heads, and the largest of each product, with whose head it is.

    All heads are in JSON and CSV. Time is in proportion to the products.
    """
    names = list(dict.fromkeys(product.attention for product in products))
    cells: dict[str, list[str]] = {"attention": list(map(printable, names))}
    of: dict[str, list[Product]] = {name: [] for name in names}
    for product in products:
        of[product.attention].append(product)
    cells["heads"] = [str(len({each.head for each in of[name] if each.norm}) or "") for name in names]
    for kind, heading in HEADINGS.items():
        found = [[each for each in of[name] if each.kind == kind and each.norm] for name in names]
        cells[f"{heading} ≤"] = [_largest(each) for each in found]
        cells[f"head of {heading}"] = [str(_head(each)) if each else "" for each in found]
    if any(product.reason for product in products):
        cells["reason"] = ["; ".join(each.reason for each in of[name] if each.reason) for name in names]
    return cells


def _head(products: Sequence[Product]) -> int:
    return max(products, key=_upper).head


def _upper(product: Product) -> float:
    return product.norm.upper if product.norm else 0.0


def _largest(products: Sequence[Product]) -> str:
    return figure(max(map(_upper, products)), UPPER) if products else ""
