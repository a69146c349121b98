"""The products of attention's matrices as people read them: the largest of each module."""

from __future__ import annotations

from collections.abc import Sequence

from convsv_cli.names import printable
from convsv_cli.renderers.numbers import figure
from convsv_cli.report import UPPER, Product

HEADINGS = {"qk": "Q·Kᵀ", "vo": "V·O"}
LEGEND = {
    "heads": "how many of them have been measured",
    "Q·Kᵀ ≤": "how strongly a head compares two tokens: the norm of the product of its matrices for"
    " queries and keys, before any rotation, scale or bias",
    "V·O ≤": "how much a head amplifies a token that it passes on: the norm of the product of its matrices"
    " for outputs and values",
    "head of": "the one with the largest norm, which is the figure; the first head is 0",
}
"""What the columns are, for people."""


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
