"""Seconds that a budget takes beyond the audit: `python benchmarks/budgets.py [LAYERS] [GLOBS]`."""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from convsv_cli.budget import Judge, judged, read_configuration, with_unused
from convsv_cli.report import (
    Audit,
    Interval,
    LayerAudit,
    Measurement,
    Model,
    NetworkBound,
    NetworkTotals,
    Report,
    Settings,
)
from convsv_cli.version import __version__


def network(layers: int) -> Audit:
    """An audit of so many layers."""
    certified = Measurement(value=2.0, enclosure=Interval(lower=1.9, upper=2.0))
    rows = tuple(
        LayerAudit(
            name=f"stage{i % 7}.block{i}.conv",
            weight=f"stage{i % 7}.block{i}.conv.weight",
            op="Conv",
            kernel_shape=(8, 8, 3, 3),
            dtype="float32",
            measurements=(("certified", certified),),
        )
        for i in range(layers)
    )
    return Audit(
        version=__version__,
        model=Model(path="m.onnx", format="onnx", sha256="0" * 64, files=(), opset=None, input_shape=()),
        settings=Settings(),
        methods=(),
        layers=rows,
        network=NetworkTotals(product=(), coverage=1.0, assumptions=()),
        bound=NetworkBound(status="unknown", reason="no graph"),
        findings=(),
        seconds=0.0,
    )


def budget(globs: int) -> str:
    """A file of so many budgets and ignores, none of which matches before the last: the worst case."""
    layers = (f'[[layer]]\nmatch = "*block{i}.con"\nmax = {i + 1}.5\n' for i in range(globs - 1))
    ignores = (f'[[ignore]]\nmatch = "stage?.block{i}.cnv"\nreason = "r"\n' for i in range(globs))
    return "".join(["max-layer = 9.0\n", *layers, '[[layer]]\nmatch = "*"\nmax = 3.0\n', *ignores])


def seconds(layers: int, globs: int) -> tuple[float, float]:
    """To read the budget, and to judge an audit by it, as `convsv check` does."""
    audit = network(layers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "convsv.toml"
        path.write_text(budget(globs), encoding="utf-8")
        start = time.perf_counter()
        configuration = read_configuration(path)
        read = time.perf_counter()
    judge = Judge(budget=configuration.budget, today=date(2026, 1, 1))
    for _ in range(3):  # before refinement, for the network, and at last
        judge.gates(audit)
    found = judged(judge, audit)
    report = with_unused(configuration.budget, Report(command="check", audits=(found,)))
    if len(report.audits[0].verdict.gates if report.audits[0].verdict else ()) != layers:
        raise RuntimeError("a layer has no gate")
    return read - start, time.perf_counter() - read


def main() -> None:
    """Print the median of five runs."""
    layers, globs = (int(sys.argv[i]) if len(sys.argv) > i else 500 for i in (1, 2))
    runs = sorted(seconds(layers, globs) for _ in range(5))
    read, judging = runs[2]
    print(
        f"{layers} layers, {globs} globs and {globs} ignores: {read:.3f} s to read, {judging:.3f} s to judge"
    )


if __name__ == "__main__":
    main()
