"""Reports for the HTML page: a real audit, and what budgets and strangers can make of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from convsv_cli import audit, report
from convsv_cli.comparison import difference, trend
from convsv_cli.renderers import RENDERERS, certification
from convsv_cli.renderers.comparison import DIFFERENCES
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.renderers.trends import TRENDS
from convsv_cli.report import (
    Audit,
    Failure,
    Finding,
    Gate,
    Interval,
    LayerAudit,
    Obstacle,
    Part,
    Place,
    Report,
    Verdict,
)
from tests.support.certifications import CERTIFICATION, NOTHING

T = TypeVar("T")
MODEL = Path(__file__).parents[2] / "sample_models" / "resnet20.onnx"
HOSTILE = (
    "</script><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "--><svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)",
    "\x1b[31mred\x07\x00",
    "\u202egnp.exe\u2066",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&amp;",
    "\ud800",
    "two\nlines\r\ttab",
    "a" * 300,
    "javascript:alert(1)",
    "",
)
LIMIT = 4.6


def render(*audits: Audit, command: str = "audit", failures: tuple[Failure, ...] = ()) -> str:
    """The page."""
    return _page(RENDERERS, Report(command=command, audits=audits, failures=failures))


def _page(renderers: Sequence[Renderer[T]], result: T) -> str:
    renderer = next(renderer for renderer in renderers if renderer.name == "html")
    return renderer.render(result, Terminal())


@cache
def resnet() -> Audit:
    """The sample model."""
    return audit(MODEL, spectra=("conv1", "fc"), network_effort="quick")


def judged(sample: Audit, limit: float = LIMIT) -> Audit:
    """With the same limit on every layer and on the network, one of them ignored and one undecided."""
    gates = [_gate(layer, limit) for layer in sample.layers]
    gates[0] = replace(gates[0], outcome=report.IGNORED, reason="calibrated after training")
    gates[1] = replace(gates[1], outcome=report.UNDECIDED, reason="refining did not help")
    network = Gate(
        node="", limit=1e6, outcome=report.MISSING, reason="no bound", place=Place(path="convsv.toml", line=3)
    )
    return replace(sample, verdict=Verdict(budget="convsv.toml", gates=(network, *gates)))


def _gate(layer: LayerAudit, limit: float) -> Gate:
    measurement = layer.measurement("certified")
    assert measurement is not None
    assert measurement.enclosure is not None
    outcome = report.PASSED if measurement.enclosure.upper <= limit else report.EXCEEDED
    place = Place(path="convsv.toml", line=4)
    return Gate(node=layer.name, limit=limit, enclosure=measurement.enclosure, outcome=outcome, place=place)


def unbounded() -> Audit:
    """No bound of the network, two layers without figures, and a finding of each severity."""
    sample = resnet()
    skipped = replace(
        sample.layers[3], status=report.UNSUPPORTED, reason="computed at run time", measurements=()
    )
    broken = replace(sample.layers[7], status=report.INVALID, reason="holds NaN", measurements=())
    layers = (*sample.layers[:3], skipped, *sample.layers[4:7], broken, *sample.layers[8:])
    bound = replace(
        sample.bound,
        status=report.UNBOUNDED,
        lipschitz=float("inf"),
        log10=None,
        blocks=tuple(replace(block, factor=float("inf"), share=None) for block in sample.bound.blocks[:2]),
        obstacles=tuple(Obstacle(node=f"gate{i}", op="Mul", reason="a product") for i in range(9)),
        parts=(Part(start="image", end="", blocks=2, lipschitz=5.00001),),
    )
    findings = (
        Finding(rule="file", severity=report.NOTE, node="", message="also holds 'ema': not audited"),
        Finding(rule="unsupported-layer", severity=report.WARNING, node=skipped.name, message=skipped.reason),
        Finding(rule="invalid-layer", severity=report.ERROR, node=broken.name, message=broken.reason),
    )
    network = replace(sample.network, coverage=20 / 22)
    return replace(sample, layers=layers, bound=bound, findings=findings, network=network)


def without_graph() -> Audit:
    """A checkpoint: layers with an assumption, and no word on the network."""
    sample = resnet()
    layers = tuple(replace(layer, assumed=("stride 1",), input_size=None) for layer in sample.layers)
    return replace(
        sample,
        model=replace(sample.model, path="weights.pth", format="checkpoint", opset=None, input_shape=()),
        layers=layers,
        network=replace(sample.network, assumptions=("stride 1",)),
        bound=report.NetworkBound(status=report.UNKNOWN, reason="no graph; --graph MODEL.onnx supplies one"),
    )


def deep(layers: int) -> Audit:
    """A network of so many layers, all with a limit."""
    sample = resnet()
    rows = tuple(
        replace(
            sample.layers[i % len(sample.layers)], name=f"features.stage{i // 50}.block{i // 3}.conv{i % 3}"
        )
        for i in range(layers)
    )
    blocks = tuple(
        replace(
            sample.bound.blocks[i % 12], name=f"block{i}", layers=tuple(row.name for row in rows[i : i + 3])
        )
        for i in range(layers // 3)
    )
    return judged(replace(sample, layers=rows, bound=replace(sample.bound, blocks=blocks)))


def measured(sample: Audit) -> Audit:
    """With a spectrum of each layer: those of the sample, in turn."""
    spectra = tuple(
        replace(sample.spectra[i % len(sample.spectra)], layer=layer.name)
        for i, layer in enumerate(sample.layers)
    )
    return replace(sample, spectra=spectra)


def named(*names: str) -> Audit:
    """A small audit in which every text that a file can bring is one of these names."""
    sample = unbounded()
    text = [names[i % len(names)] for i in range(64)]
    layers = tuple(
        replace(
            layer,
            name=text[i],
            weight=text[i + 1],
            aliases=(text[i + 2],),
            op=text[i + 3],
            reason=text[i + 4],
        )
        for i, layer in enumerate(sample.layers[:8])
    )
    bound = replace(
        sample.bound,
        blocks=tuple(
            replace(b, name=text[0], ops=(text[1],), layers=(text[2],)) for b in sample.bound.blocks
        ),
        obstacles=tuple(Obstacle(node=text[i], op=text[i + 1], reason=text[i + 2]) for i in range(3)),
        parts=(Part(start=text[0] or "x", end=text[1] or "x", blocks=1, lipschitz=2.0),),
        assumptions=(text[3] or "x",),
        structure=(text[4],),
    )
    model = replace(
        sample.model, path=text[0], files=(text[1],), input_shape=((text[2], (1, text[3])),), format=text[4]
    )
    findings = tuple(replace(finding, node=text[5], message=text[6]) for finding in sample.findings)
    gates = tuple(
        Gate(
            node=layer.name,
            limit=3.0,
            outcome=report.MISSING,
            reason=text[7],
            place=Place(path=text[0], line=1),
        )
        for layer in layers
    )
    return replace(
        sample,
        model=model,
        spectra=tuple(replace(spectrum, layer=text[i]) for i, spectrum in enumerate(sample.spectra)),
        layers=layers,
        bound=bound,
        findings=findings,
        verdict=Verdict(budget=text[1], gates=gates),
    )


def training(steps: Sequence[int] = (1, 2, 3, 9, 10)) -> list[tuple[str, Audit]]:
    """Checks of epochs whose norms grow, some beyond their limit, with the bound of the network."""
    return [(f"runs/epoch{step}.json", judged(grown(resnet(), 1.05**step))) for step in steps]


def grown(sample: Audit, factor: float) -> Audit:
    """With certified norms so many times what they are, and the bound likewise."""
    layers = tuple(
        replace(
            layer,
            measurements=tuple(
                (name, replace(each, value=each.value * factor, enclosure=scaled(each.enclosure, factor)))
                for name, each in layer.measurements
            ),
        )
        for layer in sample.layers
    )
    return replace(
        sample, layers=layers, bound=replace(sample.bound, lipschitz=factor * sample.bound.lipschitz)
    )


def scaled(proven: Interval | None, factor: float) -> Interval | None:
    """So many times the interval; none of none."""
    return proven and Interval(lower=factor * proven.lower, upper=factor * proven.upper)


def cases() -> dict[str, str]:
    """Pages by name, each of another kind."""
    failure = Failure(path="broken.onnx", message="broken.onnx: not an ONNX file", exit_code=2)
    everything = (judged(resnet()), unbounded(), without_graph(), resnet())
    return {
        "bounded": render(resnet()),
        "judged": render(judged(resnet()), command="check"),
        "unbounded": render(unbounded()),
        "spectra": render(measured(resnet())),
        "without graph": render(without_graph()),
        "hostile": render(named(*HOSTILE)),
        "several": render(*everything, command="check", failures=(failure,)),
        "nothing": render(failures=(failure,)),
        "certified": _page(certification.RENDERERS, CERTIFICATION),
        "not certified": _page(certification.RENDERERS, NOTHING),
        "difference": _page(DIFFERENCES, difference(without_graph(), judged(resnet()))),
        "trend": _page(TRENDS, trend(training())),
        "hostile trend": _page(TRENDS, trend([(name, named(*HOSTILE)) for name in HOSTILE])),
    }
