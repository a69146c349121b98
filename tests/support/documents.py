"""Reports to render, judge and read back."""

from __future__ import annotations

import math
from dataclasses import replace

from convsv_cli import report
from convsv_cli.calculators import CALCULATORS
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Terminal
from convsv_cli.report import (
    Audit,
    Block,
    Distribution,
    Empirical,
    Failure,
    Finding,
    Gate,
    Interval,
    LayerAudit,
    Measurement,
    Model,
    NetworkBound,
    NetworkTotals,
    Obstacle,
    Part,
    Place,
    Quantised,
    Report,
    Settings,
    Spectrum,
    Verdict,
)

BOUNDS = (("R", 6.91301), ("S", 7.5))


AUDITED = LayerAudit(
    name="conv1",
    weight="conv1.weight",
    op="Conv",
    kernel_shape=(16, 3, 3, 3),
    stride=(2, 2),
    dilation=(1, 1),
    padding=(1, 1, 1, 1),
    input_size=(32, 32),
    dtype="float32",
    assumed=("groups 1",),
    measurements=(
        ("heuristic", Measurement(value=2.1044, seconds=0.001)),
        ("exact", Measurement(value=4.8014, enclosure=Interval(lower=4.8014, upper=4.8015), size=(32, 32))),
        ("certified", Measurement(value=4.80211, enclosure=Interval(lower=4.8019, upper=4.80211))),
        ("zero_padded", Measurement(value=4.81, enclosure=Interval(lower=4.7, upper=4.81), size=(32, 32))),
        ("bound", Measurement(value=6.91301, enclosure=Interval(upper=6.91301), parts=BOUNDS)),
    ),
)


SKIPPED = LayerAudit(
    name="embed",
    weight="embed.weight",
    op="Gather",
    kernel_shape=(10, 4),
    dtype="int8",
    status=report.UNSUPPORTED,
    reason="a table look-up",
)


BLOCKS = (
    Block(
        name="conv1", ops=("Conv", "Relu"), layers=("conv1",), start="image", end="r", factor=5.0, share=0.7
    ),
    Block(
        name="head",
        ops=("Gemm",),
        layers=(),
        start="r",
        end="",
        factor=2.00001,
        share=0.3,
        route=report.COVARIANCE,
    ),
)


BOUND = NetworkBound(
    status=report.BOUNDED,
    lipschitz=10.00005,
    log10=1.00001,
    blocks=BLOCKS,
    structure=("2 skips", "1 BatchNorm"),
    folded=("1 BatchNorm folded",),
    assumptions=("real numbers",),
    empirical=Empirical(ratio=0.5, pairs=3, directions=4, source="random", seconds=0.1),
    seconds=0.2,
)


UNBOUNDED = NetworkBound(
    status=report.UNBOUNDED,
    blocks=(BLOCKS[0], replace(BLOCKS[1], factor=float("inf"), share=None)),
    obstacles=tuple(Obstacle(node=f"gate{i}", op="Mul", reason="a product") for i in range(6)),
    parts=(Part(start="image", end="r", blocks=1, lipschitz=5.0),),
    input_range=(0.0, 1.0),
)


ROUNDED = NetworkBound(
    status=report.UNBOUNDED,
    obstacles=(Obstacle(node="q", op="QuantizeLinear", reason="it jumps"),),
    quantised=Quantised(lipschitz=12.25, added=0.5, quantisers=3),
)
HOPELESS = replace(
    ROUNDED,
    quantised=Quantised(lipschitz=math.inf, added=math.inf, quantisers=1, reason="e (Exp): it grows"),
)


AUDIT = Audit(
    version="1.2.3",
    model=Model(
        path="net.onnx",
        format="onnx",
        sha256="0" * 64,
        files=("net.onnx",),
        opset=20,
        input_shape=(("image", (1, 3, 32, "w")),),
    ),
    settings=Settings(exact=True, input_size=(32,)),
    methods=tuple(calculator.method for calculator in CALCULATORS),
    layers=(AUDITED, SKIPPED),
    network=NetworkTotals(
        product=(("heuristic", 2.1044), ("exact", 4.8014), ("certified", 4.80211), ("bound", 6.91301)),
        coverage=0.5,
        assumptions=("groups 1",),
    ),
    bound=BOUND,
    findings=(
        Finding(rule="file", severity=report.NOTE, node="", message="also holds 'ema': not audited"),
        Finding(rule="unsupported-layer", severity=report.WARNING, node="embed", message="a table look-up"),
    ),
    seconds=0.5,
)


LINE_3, LINE_7 = Place(path="convsv.toml", line=3), Place(path="convsv.toml", line=7)


GATES = (
    Gate(
        node="",
        limit=10.0,
        enclosure=Interval(upper=10.00005),
        outcome=report.UNDECIDED,
        reason="no lower end",
        place=LINE_3,
    ),
    Gate(
        node="conv1",
        limit=4.0,
        enclosure=Interval(lower=4.8019, upper=4.80211),
        outcome=report.EXCEEDED,
        place=LINE_7,
    ),
    Gate(node="embed", limit=3.0, outcome=report.MISSING, reason="a table look-up"),
)


DISTRIBUTION = Distribution(
    count=7,
    largest=4.8,
    smallest=0.0,
    frobenius=9.0,
    nuclear=20.0,
    vanishing=1,
    edge=4.8015,
    histogram=(1, 0, 6),
)


JUDGED = replace(
    AUDIT,
    findings=(
        *AUDIT.findings,
        Finding(
            rule="network-undecided",
            severity=report.WARNING,
            node="",
            message="no lower end",
            measured=10.00005,
            limit=10.0,
            place=LINE_3,
        ),
        Finding(
            rule="layer-budget",
            severity=report.ERROR,
            node="conv1",
            message="its norm is at least 4.801, 20.0% above its budget of 4",
            measured=4.80211,
            limit=4.0,
            place=LINE_7,
        ),
        Finding(rule="ignored", severity=report.NOTE, node="embed", message="ignored: a table", place=LINE_7),
    ),
    verdict=Verdict(budget="convsv.toml", gates=GATES),
    settings=replace(AUDIT.settings, spectra=("conv*",)),
    spectra=(Spectrum(layer="conv1", size=(32, 32), distribution=DISTRIBUTION),),
)
"""The audit, judged by a budget, with a spectrum."""


FAILURE = Failure(path="broken.onnx", message="broken.onnx: not an ONNX file", exit_code=2)


FINDINGS_ONLY = ("sarif", "gitlab", "github")
"""Formats that do not list layers of which there is nothing to say."""


def of(*audits: Audit) -> Report:
    return Report(command="audit", audits=audits)


def render(name: str, audit: Audit = AUDIT) -> str:
    return next(r for r in RENDERERS if r.name == name).render(of(audit), Terminal())
