"""The columns of a sweep's three tables, declared once: their names, their types, and what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from convsv_cli.report import NOT_APPLICABLE, Audit, Failure, Interval, LayerAudit, Report, exit_code
from convsv_cli.report.verdict import INTERNAL, PASS, UNSAFE, UNSETTLED, USAGE

VERSION = "1.1"
"""Of the tables: columns are only ever added within a major version."""
TEXT, WHOLE, REAL, WHOLES, TEXTS, FLAG = "text", "whole", "real", "wholes", "texts", "flag"
AUDITED, INCOMPLETE, FAILED, SAME, GONE = "audited", "incomplete", "failed", "same", "gone"
"""What becomes of a file."""
FAILURES = (USAGE, UNSAFE, INTERNAL)
"""Exit codes of files that cannot be audited."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        name: of it.
        kind: `TEXT`, `WHOLE`, `REAL`, `WHOLES`, `TEXTS` or `FLAG`.
        about: what it holds, one line.
        of: its value in a row; None where there is none.
    """

    name: str
    kind: str
    about: str
    of: Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class File:
    """A row of the table of files: what became of one."""

    path: str
    same_as: str = ""
    audit: Audit | None = None
    failure: Failure | None = None
    gone: bool = False

    @property
    def status(self) -> str:
        """One of the five."""
        if self.gone:
            return GONE
        if self.same_as:
            return SAME
        if self.audit is None:
            return FAILED
        return INCOMPLETE if self.exit_code else AUDITED

    @property
    def exit_code(self) -> int:
        """What `convsv audit` of the file exits with; 0 where it is no longer there."""
        if self.gone:
            return PASS
        if self.failure is not None:
            return self.failure.exit_code if self.failure.exit_code in FAILURES else INTERNAL
        return exit_code(Report(command="audit", audits=(self.audit,))) if self.audit else PASS

    @property
    def reason(self) -> str:
        """Why it failed, or is incomplete, for which the most frequent reason is given; else empty."""
        if self.failure is not None:
            return self.failure.message
        if self.audit is None or self.status != INCOMPLETE:
            return ""
        whys = Counter(row.reason for row in self.audit.layers if row.status not in (AUDITED, NOT_APPLICABLE))
        if not whys:
            return next((each.message for each in self.audit.findings if each.rule in UNSETTLED), "")
        (why, count), left = whys.most_common(1)[0], whys.total()
        some = "" if count == left else f" {count:,} of them"
        return f"{left:,} of {len(self.audit.layers):,} rows have no figures,{some} as {why}"

    @property
    def largest(self) -> tuple[str, float] | None:
        """The layer of the largest certified norm, and that."""
        rows = self.audit.layers if self.audit else ()
        uppers = [(upper, row.name) for row in rows if (upper := end("certified", "upper")(row)) is not None]
        return max(uppers)[::-1] if uppers else None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table of layers."""

    path: str
    layer: LayerAudit


def end(calculator: str, which: str) -> Callable[[LayerAudit], float | None]:
    """Gives one end of what a calculator has proven of a layer."""

    def found(row: LayerAudit) -> float | None:
        measured = row.measurement(calculator)
        proven: Interval | None = measured.enclosure if measured else None
        return getattr(proven, which) if proven else None

    return found


def spread(name: str, which: str) -> Callable[[LayerAudit], float | None]:
    """Gives one end of a figure of how the singular values of a layer spread."""

    def found(row: LayerAudit) -> float | None:
        proven: Interval | None = getattr(row.spread, name, None)
        return getattr(proven, which) if proven else None

    return found


def figure(calculator: str) -> Callable[[LayerAudit], float | None]:
    """Gives the figure of a calculator."""

    def found(row: LayerAudit) -> float | None:
        measured = row.measurement(calculator)
        return measured.value if measured else None

    return found


def _of_layer(get: Callable[[LayerAudit], Any]) -> Callable[[Row], Any]:
    return lambda row: get(row.layer)


def _column(name: str, kind: str, about: str, of: Callable[[Any], Any]) -> Column:
    return Column(name=name, kind=kind, about=about, of=of)


def _layer(name: str, kind: str, about: str, of: Callable[[LayerAudit], Any]) -> Column:
    return Column(name=name, kind=kind, about=about, of=_of_layer(of))


LAYERS = (
    _column("path", TEXT, "the model's file", lambda row: row.path),
    _layer("layer", TEXT, "name of the layer", lambda row: row.name),
    _layer("weight", TEXT, "name of its weight", lambda row: row.weight),
    _layer("op", TEXT, "ONNX operator type", lambda row: row.op),
    _layer("kernel_shape", WHOLES, "shape of the weight", lambda row: row.kernel_shape),
    _layer("stride", WHOLES, "one entry per spatial axis", lambda row: row.stride),
    _layer("dilation", WHOLES, "one entry per spatial axis", lambda row: row.dilation),
    _layer("groups", WHOLE, "groups of channels", lambda row: row.groups),
    _layer("transposed", FLAG, "whether it is a transposed convolution", lambda row: row.transposed),
    _layer("input_size", WHOLES, "spatial size of its input", lambda row: row.input_size),
    _layer("dtype", TEXT, "as stored", lambda row: row.dtype),
    _layer("status", TEXT, "audited, unsupported, invalid or not_applicable", lambda row: row.status),
    _layer("reason", TEXT, "why it was not audited", lambda row: row.reason or None),
    _layer("heuristic", REAL, "estimate, proves nothing", figure("heuristic")),
    _layer("exact_lower", REAL, "lower end of the norm, circular, at the input size", end("exact", "lower")),
    _layer("exact_upper", REAL, "upper end of it", end("exact", "upper")),
    _layer("certified_lower", REAL, "lower end of the supremum over sizes", end("certified", "lower")),
    _layer("certified_upper", REAL, "the norm is not larger, at any size", end("certified", "upper")),
    _layer("zero_padded_lower", REAL, "lower end of the norm with zero padding", end("zero_padded", "lower")),
    _layer("zero_padded_upper", REAL, "upper end of it", end("zero_padded", "upper")),
    _layer("bound", REAL, "Singla and Feizi's bound", figure("bound")),
    _layer(
        "frobenius_lower",
        REAL,
        "lower end of the root of the sum of squares, with --spread",
        spread("frobenius", "lower"),
    ),
    _layer("frobenius_upper", REAL, "upper end of it", spread("frobenius", "upper")),
    _layer(
        "stable_rank_lower",
        REAL,
        "lower end of the square of that over the norm, of matrices",
        spread("stable_rank", "lower"),
    ),
    _layer("stable_rank_upper", REAL, "upper end of it", spread("stable_rank", "upper")),
    _layer("smallest_lower", REAL, "lower end of the smallest singular value", spread("smallest", "lower")),
    _layer("smallest_upper", REAL, "upper end of it", spread("smallest", "upper")),
    _layer("weight_sha256", TEXT, "of shape and values", lambda row: row.weight_sha256 or None),
    _layer("assumed", TEXTS, "what was taken for granted", lambda row: row.assumed),
)
NETWORKS = (
    _column("path", TEXT, "the model's file", lambda audit: audit.model.path),
    _column("status", TEXT, "bounded, unbounded or unknown", lambda audit: audit.bound.status),
    _column("reason", TEXT, "why nothing is known", lambda audit: audit.bound.reason or None),
    _column(
        "lipschitz", REAL, "certified bound; null for none", lambda audit: _finite(audit.bound.lipschitz)
    ),
    _column("log10", REAL, "its logarithm", lambda audit: audit.bound.log10),
    _column("effort", TEXT, "how long was searched", lambda audit: audit.bound.effort),
    _column(
        "obstacles", TEXTS, "nodes without a bound", lambda audit: [o.node for o in audit.bound.obstacles]
    ),
    _column(
        "product_certified",
        REAL,
        "product of the certified norms: no bound",
        lambda audit: _finite(dict(audit.network.product).get("certified")),
    ),
)
FILES = (
    _column("path", TEXT, "the model's file", lambda file: file.path),
    _column("status", TEXT, "audited, incomplete, failed, same or gone", lambda file: file.status),
    _column("same_as", TEXT, "the path under which it was audited", lambda file: file.same_as or None),
    _column("reason", TEXT, "why it failed, or is incomplete", lambda file: file.reason or None),
    _column("exit_code", WHOLE, "of convsv audit", lambda file: file.exit_code),
    _column("format", TEXT, "onnx, safetensors ...", lambda file: file.audit and file.audit.model.format),
    _column("sha256", TEXT, "of the model", lambda file: file.audit and file.audit.model.sha256),
    _column("layers", WHOLE, "rows", lambda file: file.audit and len(file.audit.layers)),
    _column("audited", WHOLE, "layers with figures", lambda file: file.audit and file.audit.audited),
    _column("largest_layer", TEXT, "of the largest norm", lambda file: (file.largest or (None, None))[0]),
    _column("largest_certified", REAL, "that norm", lambda file: (file.largest or (None, None))[1]),
    _column(
        "lipschitz", REAL, "as in networks", lambda file: file.audit and _finite(file.audit.bound.lipschitz)
    ),
    _column("seconds", REAL, "wall time of the audit", lambda file: file.audit and file.audit.seconds),
)
TABLES: Mapping[str, tuple[Column, ...]] = {"files": FILES, "networks": NETWORKS, "layers": LAYERS}


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None
