"""What users say of a network's rows, where its file leaves it open: this is a layer, that is a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from convsv_cli.auditing.plan import AnyLayer, matches, nothing_matches
from convsv_cli.errors import UsageError
from convsv_cli.model.layer import CONV, Layer, UnsupportedLayer
from convsv_cli.model.network import Network
from convsv_cli.report import Settings

AS_LAYER = "a layer, as asked"
AS_TABLE = "a table, as asked: a look-up by integer indices amplifies nothing"
EXPLAIN = "a glob may mean more than one row: --as-layer and --as-table must not mean the same"


def declared(network: Network, settings: Settings) -> Network:
    """The network with the rows that `settings.as_layer` and `settings.as_table` mean as these say.

    Nobody can turn into a table what the file uses as a layer, nor audit what convsv cannot read: such rows
    are left as they are where a glob means others, too.

    Raises:
        UsageError: a glob matches no row, or only such rows; one row is to be both.
    """
    if not settings.as_layer and not settings.as_table:
        return network
    for pattern in settings.as_layer:
        _check(network, pattern, "--as-layer", _as_layer, "be audited as a layer")
    for pattern in settings.as_table:
        _check(network, pattern, "--as-table", _as_table, "be a table")
    return replace(network, layers=tuple(_declared(row, settings, network) for row in network.layers))


def _check(
    network: Network, pattern: str, option: str, change: Callable[[AnyLayer], AnyLayer | None], what: str
) -> None:
    """See that a glob of an option says something that some row can be."""
    meant = [row for row in network.layers if matches(row, pattern)]
    if not meant:
        raise nothing_matches(network, pattern, option)
    if all(change(row) is None for row in meant):
        first = meant[0]
        why = first.reason if isinstance(first, UnsupportedLayer) else f"the file uses it in a {first.op}"
        raise UsageError(f"{first.name!r} cannot {what}: {why}", where=network.path)


def _declared(row: AnyLayer, settings: Settings, network: Network) -> AnyLayer:
    layer, table = (
        any(matches(row, pattern) for pattern in patterns)
        for patterns in (settings.as_layer, settings.as_table)
    )
    if layer and table:
        raise UsageError(f"{row.name!r} is to be a layer and a table", where=network.path, hint=EXPLAIN)
    said = _as_layer(row) if layer else _as_table(row) if table else None
    return row if said is None else said


def _as_layer(row: AnyLayer) -> Layer | None:
    """The row as a layer, which it may be already; None where it can be none."""
    layer = row if isinstance(row, Layer) else row.layer
    if layer is None or (isinstance(row, Layer) and not row.presumed):
        return layer
    assumed = tuple(line for line in layer.assumed if line != layer.presumed)
    return replace(layer, name=row.name, assumed=(*assumed, AS_LAYER), presumed="")


def _as_table(row: AnyLayer) -> UnsupportedLayer | None:
    """The row as a table, which it may be already; None where the file or its axes say otherwise."""
    if isinstance(row, UnsupportedLayer):
        if row.applicable and row.layer is None and CONV in row.op:
            return None
        return replace(row, applicable=False, reason=AS_TABLE if row.applicable else row.reason)
    if not row.presumed:
        return None
    return UnsupportedLayer(
        name=row.name,
        weight=row.weight,
        aliases=row.aliases,
        op="Gather",
        kernel_shape=row.kernel_shape,
        dtype=row.dtype,
        reason=AS_TABLE,
        applicable=False,
    )
