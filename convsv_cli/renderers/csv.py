"""CSV: a row per layer, network, pair of tensors and unreadable model; the columns are always the same."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from convsv_cli.names import spreadsheet_cell
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.verdict_text import OUTCOMES
from convsv_cli.report import (
    BOUNDED,
    CHANGES,
    QUANTISED,
    STEPS,
    UNBOUNDED,
    Audit,
    Gate,
    NetworkBound,
    Report,
    Settings,
)

Cell = str | int | float | None
Row = dict[str, Cell]
Subject = tuple[str, str, str, str]
"""Of a limit: the quantity, the layer, and the two tensors; each may be empty."""
LAYER, NETWORK, PAIR, PRODUCT, FAILURE = "layer", "network", "pair", "product", "failure"
"""What a row is of; `QUANTISED` and `STEPS` are the terms of a network that rounds."""
COLUMNS: Mapping[str, str] = {
    "kind": f"`{LAYER}`, `{NETWORK}`, `{PAIR}` (one tensor to another), `{QUANTISED}` or `{STEPS}` (terms of"
    f" a network that rounds), `{PRODUCT}` (of an attention head), or `{FAILURE}` (a model that could not be"
    " read)",
    "model": "path of the model",
    "name": "of the layer",
    "status": "of a layer: `audited`, `unsupported`, `invalid` or `not_applicable`; empty for one that only"
    " the baseline has. Of a bound: `bounded`, `unbounded` or `unknown`",
    "reason": "why a row has no figures",
    "op": "ONNX operator type",
    "kernel_shape": "c_out × c_in / groups × k, such as `16x3x3x3`",
    "input_size": "spatial size of the layer's input",
    "heuristic": "the estimate",
    "exact": "norm at `exact_size` with circular padding; empty without `--exact`",
    "exact_lower": "proven lower end of that norm",
    "exact_upper": "proven upper end of that norm",
    "exact_size": "circular input size that these three are for",
    "certified_lower": "proven lower end of the supremum over all input sizes",
    "certified_upper": "proven upper end: the norm is not larger, at any input size",
    "zero_padded_lower": "lower end of the norm with the layer's own zero padding; empty without `--exact`",
    "zero_padded_upper": "upper end of that norm",
    "bound": "upper bound of Singla & Feizi",
    "bounds": "that from each unfolding, such as `R=6.91; S=7.5`",
    "lipschitz_upper": "certified Lipschitz bound of the network, of a pair, or beside the steps",
    "log10_lipschitz_upper": "logarithm of the network's bound, which may itself be too large for a number",
    "added_upper": "what the steps of a network that rounds add at most",
    "from": "tensors that a bound is from; empty for all inputs",
    "to": "tensors that a bound is to; empty for all outputs",
    "limit": "what a budget or baseline allows; of several limits, that of the worst outcome",
    "outcome": "`exceeded`, `undecided`, `missing`, `ignored` or `passed`",
    "baseline": "how the layer differs from the baseline: renamed, added or removed",
    "stride": "per axis, such as `2x2`",
    "dilation": "per axis",
    "groups": "of the convolution",
    "transposed": "`true` or `false`",
    "padding": "at the beginning of each axis, then at the end of each",
    "padding_mode": "`zeros`, `reflect`, `replicate` or `circular`",
    "output_padding": "of a transposed layer, per axis",
    "dtype": "as stored",
    "parameters": "entries of the weight, without a bias",
    "macs": "multiplications, each with an addition, that one sample takes; of a matrix, one vector; empty"
    " where the input size or the padding is not known",
    "weight": "name of the weight tensor in the file",
    "aliases": "further names of the same layer, separated by semicolons",
    "assumed": "what the file does not say and was taken for granted, separated by semicolons",
    "weight_sha256": "of the shape and the values of the effective weight",
    "seconds": "wall time of the row's figures",
    "update_kind": "`LoRA`, `DoRA`, `LoHa`, `LoKr` or `full` where the row, and all its figures, are of an"
    " adapter's update; empty for the row of a weight",
    "update_rank": "of its factors",
    "update_scale": "what their product is multiplied by",
    "update_frobenius_upper": "its Frobenius norm, rounded up",
    "update_stable_rank_upper": "its squared Frobenius norm over its squared norm, as a matrix",
    "update_base": "name of the base's weight that it is added to; empty without `--base`",
    "update_base_norm_upper": "norm of that weight",
    "update_share_upper": "norm of the update over that of the weight",
    "update_merged_upper": "norm of the sum",
    "update_no_base": "why these are not known, where a base was given",
    "frobenius_lower": "lower end of the root of the sum of squares of all entries; empty without `--spread`",
    "frobenius_upper": "upper end of that",
    "stable_rank_lower": "lower end of the square of that over the norm; empty for convolutions",
    "stable_rank_upper": "upper end of that",
    "smallest_lower": "lower end of the smallest singular value; empty for convolutions",
    "smallest_upper": "upper end of that",
}
"""What is in each, for the documentation; figures have their full precision, and lists are text."""

OF_NETWORKS = ("kind", "lipschitz_upper", "log10_lipschitz_upper", "added_upper", "from", "to")
"""Columns that no layer has, and what tells one from a network."""


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The header, and the rows of each model: those of its layers, then the network's; failures come last.

    What a row does not have is empty. Layers that are only in the baseline have rows, too.
    """
    rows = [row for audit in report.audits for row in _rows(audit)]
    rows += [{"kind": FAILURE, "model": each.path, "reason": each.message} for each in report.failures]
    return comma_separated([COLUMNS, *([row.get(column) for column in COLUMNS] for row in rows)])


def layer_rows(audit: Audit) -> list[dict[str, Any]]:
    """The rows of the layers with the columns that are about layers; what is true or false is that."""
    truths = {"true": True, "false": False}
    names = [name for name in COLUMNS if name not in OF_NETWORKS]
    rows: list[dict[str, Any]] = []
    for row in filter(lambda row: row["kind"] == LAYER, _rows(audit)):
        whole = truths.get(str(row.get("transposed")))
        rows.append({name: whole if name == "transposed" else row.get(name) for name in names})
    return rows


def kind_of(name: str) -> str:
    """What a row of a comparison is of: a layer, or the network, which has no name."""
    return LAYER if name else NETWORK


def comma_separated(rows: Iterable[Iterable[Cell]]) -> str:
    """The document; texts are made inert for spreadsheets here, and only here."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(
        [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows
    )
    return text.getvalue()


def _rows(audit: Audit) -> Iterator[Row]:
    """Each row with the path of the model, and with what became of its limit."""
    gates = sorted(audit.verdict.gates, key=_last_the_worst) if audit.verdict else []
    worst = {(gate.quantity, gate.node, gate.start, gate.end): gate for gate in gates}
    rows = (*_layers(audit), *_network(audit.bound, audit.settings), *_products(audit))
    for subject, row in rows:
        gate = worst.get(subject)
        judged: Row = {"limit": gate.limit, "outcome": gate.outcome} if gate else {}
        yield {**row, **judged, "model": audit.model.path}


def _last_the_worst(gate: Gate) -> int:
    return -OUTCOMES.index(gate.outcome)


def _layers(audit: Audit) -> Iterator[tuple[Subject, Row]]:
    from convsv_cli.wire.form import members
    from convsv_cli.wire.layer import Layer

    changes = {finding.node: finding.message for finding in audit.findings if finding.rule in CHANGES}
    for layer in audit.layers:
        row = {**_flat(members(Layer.filled(layer))), "kind": LAYER}
        yield ("", layer.name, "", ""), {**row, "baseline": changes.pop(layer.name, None)}
    for name, change in changes.items():
        yield ("", name, "", ""), {"kind": LAYER, "name": name, "baseline": change}


def _network(bound: NetworkBound, settings: Settings) -> Iterator[tuple[Subject, Row]]:
    """The network's row, those of the terms of one that rounds, and those of pairs."""
    ends = {"from": "; ".join(settings.sources), "to": "; ".join(settings.targets)}
    network = {
        "kind": NETWORK,
        "status": bound.status,
        "reason": bound.reason or "; ".join(f"{each.node}: {each.reason}" for each in bound.obstacles),
        "lipschitz_upper": _finite(bound.lipschitz),
        "log10_lipschitz_upper": _finite(bound.log10),
        "seconds": bound.seconds,
    }
    yield ("", "", "", ""), {**network, **ends}
    if bound.quantised is not None:
        terms = {QUANTISED: bound.quantised.lipschitz, STEPS: bound.quantised.added}
        for (quantity, upper), column in zip(terms.items(), ("lipschitz_upper", "added_upper"), strict=True):
            yield (
                (quantity, "", "", ""),
                {**_bounded(quantity, upper, bound.quantised.reason, column), **ends},
            )
    for pair in bound.pairs:
        row = _bounded(PAIR, pair.lipschitz, pair.reason, "lipschitz_upper")
        yield ("", "", pair.start, pair.end), {**row, "from": pair.start, "to": pair.end}


def _products(audit: Audit) -> Iterator[tuple[Subject, Row]]:
    for each in audit.products:
        name = f"{each.attention}.{each.head}.{each.kind}" if each.norm else each.attention
        row: Row = {"kind": PRODUCT, "name": name, "reason": each.reason}
        if each.norm:
            row |= {"certified_lower": each.norm.lower, "certified_upper": _finite(each.norm.upper)}
        yield ("", "", name, PRODUCT), row


def _bounded(kind: str, upper: float | None, reason: str, column: str) -> Row:
    finite = _finite(upper)
    status = UNBOUNDED if finite is None else BOUNDED
    return {"kind": kind, "status": status, "reason": reason, column: finite}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _nested(field: str, value: Mapping[str, Any]) -> Row:
    """An object within a row, however deep, by the names of its fields behind that of its own."""
    row: Row = {}
    for name, each in value.items():
        inner = field if name == "value" else f"{field}_{name}"
        row |= _nested(inner, each) if isinstance(each, dict) else {inner: _cell(each, separator="x")}
    return row


def _flat(layer: Mapping[str, Any]) -> Row:
    """A layer's JSON object with nested fields as `outer_inner`, and lists as text."""
    row: Row = {
        "bounds": "; ".join(f"{name}={norm}" for name, norm in layer.get("bounds", {}).items()),
        "seconds": math.fsum(layer["seconds"].values()),
    }
    for field, value in {**layer, **layer.get("spread", {})}.items():
        if field in row:
            continue
        if isinstance(value, dict):
            row |= _nested(field, value)
        else:
            row[field] = _cell(value, separator="; " if field in ("aliases", "assumed") else "x")
    return row


def _cell(value: Any, *, separator: str) -> Cell:  # noqa: ANN401
    if isinstance(value, list):
        return separator.join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value


RENDERER = Renderer(name="csv", suffixes=(".csv",), render=render)
