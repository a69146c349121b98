"""The command line, timed from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx

from benchmarks.graphs import real_resnet18
from benchmarks.measuring import Row, Section, progress, timed
from benchmarks.plan import Plan


def audits(plan: Plan) -> Section:
    """The command line, process start included."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(real_resnet18(plan.shared), folder / "real.onnx")
        _save_random(folder / "random.onnx")
        for model, extra in (
            ("real", ["--exact", "--input-size", "224"]),
            ("real", []),
            ("random", []),
        ):
            progress(f"audit {model} {' '.join(extra)}")
            rows.append(_audit(folder / f"{model}.onnx", extra, plan.audited_layers))
    return Section(
        title="audit: the command line, process start included",
        rows=rows,
        notes=[
            "real: ResNet-18 of the real kernels up to layer3; random: a whole one, randomly initialised.",
            "widest: of the layers' certified intervals, relative. start: the same process without an audit.",
        ],
    )


def _save_random(path: Path) -> None:
    from tests.support.resnet18 import export, random_resnet18

    export(random_resnet18(), path)


def _audit(model: Path, extra: list[str], layers: str) -> Row:
    output = model.with_suffix(".json")
    convsv = [sys.executable, "-m", "convsv_cli"]
    command = [*convsv, "audit", str(model), *extra, "--layers", layers, "--quiet", "-o", str(output)]
    start = timed(lambda: subprocess.run([*convsv, "--version"], capture_output=True, check=True), runs=3)
    done = timed(lambda: subprocess.run(command, capture_output=True, check=True), runs=1)
    audited = json.loads(output.read_text(encoding="utf-8"))["audits"][0]["layers"]
    return {
        "model": model.stem,
        "options": " ".join(extra) or "none",
        "layers": len(audited),
        "time_s": done.seconds,
        "start_s": start.seconds,
        **_widest(audited, "certified"),
        "widest_exact": _widest(audited, "exact")["widest"],
    }


def _widest(layers: list[dict[str, Any]], figure: str) -> dict[str, Any]:
    """The layer with the widest interval of that figure, and how wide it is."""
    found = [(layer[figure], layer["name"]) for layer in layers if layer.get(figure)]
    widths = [(ends["upper"] / ends["lower"] - 1, name) for ends, name in found]
    width, name = max(widths, default=(None, None))
    return {"widest": width, "layer": name}
