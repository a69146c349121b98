"""A bound of one network, in a process of its own: `python -m benchmarks.one_bound MODEL EFFORT [alone]`.

EFFORT is one of the audit's, or `rules` for the sum rule. With `alone`, norms stop early. Prints JSON: log10
of the bound, its seconds and those of all else, the peak of the process's memory, and which routes the
network's blocks took.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

RULES, ALONE = "rules", "alone"
EARLY = 1e9
"""Multiplications for the norm of a layer that is not what is measured."""


def measured(model: Path, effort: str, seconds: float, *, alone: bool = False) -> dict[str, Any]:
    """What a process of its own prints; nothing but `stopped` where it takes longer.

    Args:
        model: the ONNX file.
        effort: `RULES`, or one of `EFFORTS`.
        seconds: after which it is stopped.
        alone: the norms of layers stop early, for only the bound's cost is measured.
    """
    command = [sys.executable, "-m", __spec__.name, str(model), effort, *([ALONE] if alone else [])]
    try:
        process = subprocess.run(command, capture_output=True, check=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"stopped": seconds}
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def by_rules(model: Path) -> dict[str, Any]:
    """The sum rule, and the product of all norms."""
    from benchmarks.measuring import peak_bytes
    from benchmarks.sum_rule import sum_rule

    found = sum_rule(model, exact=True)
    return {
        "product": found.product,
        "log10": found.bound if math.isfinite(found.bound) else None,
        "bound_s": found.composition_s,
        "audit_s": found.norms_s,
        "bytes": peak_bytes(),
    }


def by_audit(model: Path, effort: str, *, alone: bool) -> dict[str, Any]:
    """As users have it, exact norms included; `alone`, without them."""
    from benchmarks.measuring import peak_bytes
    from convsv_cli import audit

    limit = {"work_limit": EARLY} if alone else {"exact": True}
    report = audit(model, network_effort=effort, **limit)
    bound = report.bound
    return {
        "log10": bound.log10,
        "bound_s": bound.seconds,
        "audit_s": report.seconds - bound.seconds,
        "bytes": peak_bytes(),
        "routes": dict(Counter(block.route for block in bound.blocks)),
    }


def main() -> None:
    """Print the figures of one model."""
    model, effort, *rest = sys.argv[1:]
    found = by_rules(Path(model)) if effort == RULES else by_audit(Path(model), effort, alone=bool(rest))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
