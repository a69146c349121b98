"""JSON, schema 1.0: fields are only ever added within a major version."""

from __future__ import annotations

import json
import math
from typing import Any

from convsv_cli.renderers.certification import words
from convsv_cli.renderers.certification.curve import points
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import Attack, Certification, Level, NetworkBound, Route

SCHEMA_VERSION = "1.0"
POINTS = 101


def render(certification: Certification, terminal: Terminal) -> str:  # noqa: ARG001
    """The document, with keys in a fixed order; what is not finite is null."""
    return json.dumps(document(certification), indent=2, allow_nan=False) + "\n"


def document(certification: Certification) -> dict[str, Any]:
    """As JSON values; `schema/certification-1.schema.json` describes it."""
    model, settings, total = certification.model, certification.settings, len(certification.samples)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "convsv", "version": certification.version},
        "command": "certify",
        "model": {
            "path": model.path,
            "format": model.format,
            "sha256": model.sha256,
            "files": list(model.files),
            "opset": model.opset,
            "inputs": [{"name": name, "shape": list(shape)} for name, shape in model.input_shape],
        },
        "settings": {
            "data": settings.data,
            "eps": list(settings.eps),
            "input_mean": list(settings.input_mean),
            "input_std": list(settings.input_std),
            "normalized": settings.normalized,
            "limit": settings.limit,
            "attack": settings.attack,
            "input_range": settings.input_range and list(settings.input_range),
            "tolerance": settings.tolerance,
            "device": settings.device,
            "graph": settings.graph or None,
        },
        "samples": total,
        "correct": certification.correct,
        "accuracy": certification.correct / total,
        "levels": [_level(level, total) for level in certification.levels],
        "radii": [{"share": share, "radius": _finite(r)} for share, r in certification.quantiles],
        "curve": [{"radius": p.radius, "certified": p.share} for p in points(certification, POINTS)],
        "routes": [_route(route) for route in certification.routes],
        "network": _network(certification.bound),
        "attack": certification.attack and _attack(certification.attack),
        "reasons": list(words.reasons(certification)),
        "notes": list(certification.notes),
        "summary": {"seconds": certification.seconds},
    }


def _level(level: Level, total: int) -> dict[str, Any]:
    return {
        "eps": level.eps,
        "certified": level.certified,
        "certified_accuracy": level.certified / total,
        "robust": level.robust,
        "robust_accuracy": None if level.robust is None else level.robust / total,
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "name": route.name,
        "used": not route.reason,
        "reason": route.reason or None,
        "constants": {name: _finite(value) for name, value in route.constants},
        "best": route.best,
    }


def _network(bound: NetworkBound) -> dict[str, Any]:
    return {
        "status": bound.status,
        "lipschitz": _finite(bound.lipschitz),
        "log10": bound.log10,
        "blocks": [
            {"name": block.name, "factor": _finite(block.factor), "share": block.share}
            for block in bound.blocks
        ],
        "obstacles": [{"node": o.node, "op": o.op, "reason": o.reason} for o in bound.obstacles],
    }


def _attack(attack: Attack) -> dict[str, Any]:
    return {
        "steps": attack.steps,
        "restarts": attack.restarts,
        "seconds": attack.seconds,
        "failure": attack.failure or None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
