"""Which layer of a new audit is which of an old one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from convsv_cli.report import Audit, LayerAudit


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A layer before and after; None where it was added or removed."""

    old: LayerAudit | None = None
    new: LayerAudit | None = None

    @property
    def renamed(self) -> bool:
        """Whether it has another name now."""
        return self.old is not None and self.new is not None and self.old.name != self.new.name

    @property
    def same_map(self) -> bool:
        """Whether weight and geometry are known to be the same, so that the norm is."""
        if self.old is None or self.new is None or not self.old.weight_sha256:
            return False
        return self.old.weight_sha256 == self.new.weight_sha256 and geometry(self.old) == geometry(self.new)


def pairs(old: Audit, new: Audit) -> tuple[Pair, ...]:
    """All layers of both audits, each once: those of the new one in its order, then those that were removed.

    Layers of one name belong together; of the others, those whose weights are the same, and no third's.
    """
    before = {row.name: row for row in old.layers}
    after = {row.name for row in new.layers}
    gone = _by_weight(row for row in old.layers if row.name not in after)
    come = _by_weight(row for row in new.layers if row.name not in before)
    renamed = {row.name: gone[weight] for weight, row in come.items() if weight in gone}
    found = [Pair(old=before.get(row.name) or renamed.get(row.name), new=row) for row in new.layers]
    met = {pair.old.name for pair in found if pair.old is not None}
    return (*found, *(Pair(old=row) for row in old.layers if row.name not in met))


def geometry(row: LayerAudit) -> tuple[Any, ...]:
    """What makes, with the weight, the linear map on the infinite lattice."""
    return row.kernel_shape, row.stride, row.dilation, row.groups, row.transposed


def _by_weight(rows: Iterable[LayerAudit]) -> dict[str, LayerAudit]:
    """The rows whose weight no other of them has."""
    known = [row for row in rows if row.weight_sha256]
    counts = Counter(row.weight_sha256 for row in known)
    return {row.weight_sha256: row for row in known if counts[row.weight_sha256] == 1}
