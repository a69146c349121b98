"""JSON, schema 1.1: fields are only ever added within a major version."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from convsv_cli.renderers import trend_text
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import (
    BOUNDED,
    CERTIFIED,
    EXACT,
    PADDED,
    Audit,
    Finding,
    Gate,
    Interval,
    LayerAudit,
    Measurement,
    Method,
    Model,
    Report,
    Settings,
    Spectrum,
    Verdict,
    conclusion,
)
from convsv_cli.version import __version__

SCHEMA_VERSION = "1.1"
METHOD = "certified norms, composed over the graph in topological order"


def render(report: Report, terminal: Terminal) -> str:  # noqa: ARG001
    """The document, with keys in a fixed order; what is not finite is null."""
    return json.dumps(document(report), indent=2, allow_nan=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    """The report as JSON values; `schema/audit-1.schema.json` describes it.

    A single audit is the document itself; several, or models that could not be read, are lists in it.
    """
    alone = report.audits[0] if len(report.audits) == 1 and not report.failures else None
    head = {
        "schema_version": SCHEMA_VERSION,
        "tool": _tool(alone.version if alone else __version__),
        "command": report.command,
    }
    if alone:
        return {**head, **audit_fields(alone)}
    return {
        **head,
        "audits": [{"tool": _tool(audit.version), **audit_fields(audit)} for audit in report.audits],
        "failures": [asdict(failure) for failure in report.failures],
    }


def _tool(version: str) -> dict[str, str]:
    return {"name": "convsv", "version": version}


def audit_fields(audit: Audit) -> dict[str, Any]:
    """One audit as JSON values."""
    return {
        "model": _model(audit.model),
        "settings": _settings(audit.settings),
        "methods": [asdict(method) for method in audit.methods],
        "layers": [_layer(layer, audit.methods) for layer in audit.layers],
        "network": _network(audit),
        "findings": [_finding(finding) for finding in audit.findings],
        "verdict": audit.verdict and _verdict(audit.verdict, audit.findings),
        "spectra": [_spectrum(spectrum) for spectrum in audit.spectra],
        "summary": {
            "layers": len(audit.layers),
            "audited": audit.audited,
            "seconds": audit.seconds,
        },
    }


def _model(model: Model) -> dict[str, Any]:
    return {
        "path": model.path,
        "format": model.format,
        "sha256": model.sha256,
        "files": list(model.files),
        "opset": model.opset,
        "input_shape": {name: list(shape) for name, shape in model.input_shape},
        **({"files_sha256": [each or None for each in model.files_sha256]} if model.files_sha256 else {}),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    return {
        "exact": settings.exact,
        "input_size": _list(settings.input_size),
        "input_shapes": {name: list(shape) for name, shape in settings.input_shapes},
        "layers": list(settings.layers),
        "as_stride_1": settings.as_stride_1,
        "device": settings.device,
        "tolerance": settings.tolerance,
        "work_limit": _finite(settings.work_limit),
        "input_range": None if settings.input_range is None else list(settings.input_range),
        "empirical": settings.empirical or None,
        "spectra": list(settings.spectra),
        "as_layer": list(settings.as_layer),
        "as_table": list(settings.as_table),
        "dtype": settings.dtype,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        **asdict(finding),
        "measured": _finite(finding.measured),
        "limit": _finite(finding.limit),
    }


def _verdict(verdict: Verdict, findings: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        "budget": verdict.budget,
        "outcome": conclusion(verdict, findings),
        "gates": [_gate(gate) for gate in verdict.gates],
    }


def _gate(gate: Gate) -> dict[str, Any]:
    return {
        "node": gate.node,
        "limit": _finite(gate.limit),
        "enclosure": gate.enclosure and _ends(gate.enclosure),
        "outcome": gate.outcome,
        "reason": gate.reason or None,
        "place": gate.place and asdict(gate.place),
        **_where_known(limit_lower=gate.limit_lower),
    }


def _spectrum(spectrum: Spectrum) -> dict[str, Any]:
    return {
        "layer": spectrum.layer,
        "size": list(spectrum.size),
        **asdict(spectrum.distribution),
        "histogram": list(spectrum.distribution.histogram),
    }


def _network(audit: Audit) -> dict[str, Any]:
    bound, empirical = audit.bound, audit.bound.empirical
    return {
        "status": bound.status,
        "reason": bound.reason or None,
        "lipschitz_upper": _finite(bound.lipschitz),
        "log10_lipschitz_upper": bound.log10,
        "certified": bound.status == BOUNDED,
        "method": METHOD,
        "input_range": None if bound.input_range is None else list(bound.input_range),
        "empirical_lower": empirical and empirical.ratio,
        "empirical": empirical and asdict(empirical),
        "blocks": [
            {
                "name": block.name,
                "ops": list(block.ops),
                "layers": list(block.layers),
                "from": block.start or None,
                "to": block.end or None,
                "factor": _finite(block.factor),
                "share": block.share,
            }
            for block in bound.blocks
        ],
        "unbounded": [asdict(obstacle) for obstacle in bound.obstacles],
        "parts": [
            {
                "from": part.start or None,
                "to": part.end or None,
                "blocks": part.blocks,
                "lipschitz_upper": _finite(part.lipschitz),
            }
            for part in bound.parts
        ],
        "structure": list(bound.structure),
        "folded": list(bound.folded),
        "product": {name: _finite(value) for name, value in audit.network.product},
        "coverage": audit.network.coverage,
        "assumptions": [*audit.network.assumptions, *bound.assumptions],
        "seconds": bound.seconds,
        **_where_known(lipschitz_upper_unrefined=bound.unrefined),
    }


def _layer(layer: LayerAudit, methods: tuple[Method, ...]) -> dict[str, Any]:
    return {
        "name": layer.name,
        "weight": layer.weight,
        "aliases": list(layer.aliases),
        "op": layer.op,
        "kernel_shape": list(layer.kernel_shape),
        "stride": list(layer.stride),
        "dilation": list(layer.dilation),
        "groups": layer.groups,
        "transposed": layer.transposed,
        "padding": list(layer.padding),
        "padding_mode": layer.padding_mode,
        "output_padding": list(layer.output_padding),
        "input_size": _list(layer.input_size),
        "dtype": layer.dtype,
        "assumed": list(layer.assumed),
        "weight_sha256": layer.weight_sha256 or None,
        "status": layer.status,
        "reason": layer.reason or None,
        **{
            field: value
            for method in methods
            for field, value in _measured(method, layer.measurement(method.name)).items()
        },
        "seconds": {name: measurement.seconds for name, measurement in layer.measurements},
    }


def _measured(method: Method, measurement: Measurement | None) -> dict[str, Any]:
    """The fields of one calculator: its figure, and the parts that it was chosen from."""
    if method.kind in (EXACT, CERTIFIED, PADDED):
        return {method.name: measurement and _enclosed(measurement, method)}
    fields: dict[str, Any] = {method.name: measurement and _finite(measurement.value)}
    if measurement is not None and measurement.parts:
        fields[f"{method.name}s"] = {name: _finite(value) for name, value in measurement.parts}
    return fields


def _enclosed(measurement: Measurement, method: Method) -> dict[str, Any]:
    enclosure = measurement.enclosure or Interval()
    ends = _ends(enclosure)
    if method.kind != EXACT:
        return ends
    return {"value": _finite(measurement.value), **ends, "size": _list(measurement.size)}


def _ends(enclosure: Interval) -> dict[str, float | None]:
    return {"lower": _finite(enclosure.lower), "upper": _finite(enclosure.upper)}


def _where_known(**fields: float | None) -> dict[str, float | None]:
    """Fields that are only there where they say something; null for what is infinite."""
    return {name: _finite(value) for name, value in fields.items() if value is not None}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _list(values: tuple[int, ...] | None) -> list[int] | None:
    return None if values is None else list(values)


RENDERER = Renderer(name="json", suffixes=(".json",), render=render, compare=trend_text.document)
