"""What was audited, with which settings, what was found, and the command that does it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from convsv_cli.digits import short
from convsv_cli.names import STDIN, printable
from convsv_cli.renderers.numbers import size, times
from convsv_cli.report import ERROR, NORMAL, NOTE, TOLERANCE, WARNING, WORK_LIMIT, Audit, Model, Settings

Facts = tuple[tuple[str, str], ...]
SEVERITIES = {ERROR: ("fail", "✕"), WARNING: ("warn", "!"), NOTE: ("note", "i")}
"""The tone and the symbol of each, the worst first."""
ELSEWHERE = ("assumed", "unbounded-node")
"""Rules whose findings are assumptions, and obstacles of the network's bound."""


@dataclass(frozen=True, kw_only=True)
class Remark:
    """A message, and the nodes that it is about; none for the whole network or file."""

    severity: str
    message: str
    nodes: tuple[str, ...]


def findings_of(audit: Audit) -> tuple[Remark, ...]:
    """The worst first. Those of a budget are among the gates already."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for finding in audit.findings:
        if finding.rule not in ELSEWHERE and finding.limit is None:
            groups.setdefault((finding.severity, finding.rule, finding.message), []).append(finding.node)
    ranked = sorted(groups.items(), key=lambda group: list(SEVERITIES).index(group[0][0]))
    return tuple(
        Remark(severity=severity, message=message, nodes=tuple(filter(None, nodes)))
        for (severity, _, message), nodes in ranked
    )


def assumptions_of(audit: Audit) -> tuple[Remark, ...]:
    """What was taken for granted: of layers, with their names, and of the network."""
    nodes: dict[str, dict[str, None]] = {line: {} for line in audit.network.assumptions}
    for layer in audit.layers:
        for line in layer.assumed:
            if line in nodes:
                nodes[line][layer.name] = None
    lines = dict.fromkeys([*audit.network.assumptions, *audit.bound.assumptions])
    return tuple(Remark(severity=NOTE, message=line, nodes=tuple(nodes.get(line, ()))) for line in lines)


def format_of(model: Model) -> str:
    """The format, with its version where it has one."""
    return model.format if model.opset is None else f"{model.format}, opset {model.opset}"


def model_facts(model: Model) -> Facts:
    """The file, as it was."""
    facts = {
        "Path": model.path,
        "Format": format_of(model),
        "Inputs": ", ".join(f"{name} {times(shape) or 'scalar'}" for name, shape in model.input_shape),
        "Files": ", ".join(model.files),
        "SHA-256": model.sha256,
    }
    return tuple((name, text) for name, text in facts.items() if text)


def setting_facts(audit: Audit) -> Facts:
    """What decides the figures."""
    settings = audit.settings
    facts = {
        "Exact norms": "yes" if settings.exact else "no",
        "Input size": size(settings.input_size) if settings.input_size else "not given",
        "Input shapes": ", ".join(f"{name} {times(shape)}" for name, shape in settings.input_shapes),
        "Input range": "" if settings.input_range is None else _range(settings.input_range),
        "Bounded from": ", ".join(settings.sources),
        "Bounded to": ", ".join(settings.targets),
        "Layers": ", ".join(settings.layers) or "all",
        "Spectra": ", ".join(settings.spectra),
        "Treated as layers": ", ".join(settings.as_layer),
        "Treated as tables": ", ".join(settings.as_table),
        "Strides": "assumed to be 1" if settings.as_stride_1 else "",
        "Empirical estimate": settings.empirical,
        "Tolerance": short(settings.tolerance),
        "Work limit": f"{short(settings.work_limit)} multiplications per layer",
        "Effort for the network": settings.network_effort,
        "Arithmetic": f"{settings.dtype}, device {settings.device}",
        "Time": f"{audit.seconds:.1f} s",
        "Tool": f"convsv {audit.version}",
    }
    return tuple((name, text) for name, text in facts.items() if text)


def command_of(audit: Audit) -> str:
    """The command line that gives the same figures, for a POSIX shell."""
    return shlex.join([printable(word) for word in _words(audit)])


def _words(audit: Audit) -> Iterator[str]:
    """Only what differs from the defaults."""
    settings, model = audit.settings, audit.model
    yield from ("convsv", "audit", "-" if model.path == STDIN else model.path)
    if model.format == "checkpoint" and model.opset is not None:
        yield from ("--graph", *model.files[1:2])
    yield from (flag for flag, asked in _flags(settings).items() if asked)
    for name, shape in settings.input_shapes:
        yield from ("--input-shape", f"{name}:{'x'.join(map(str, shape))}")
    globs = {
        "--layers": settings.layers,
        "--spectra": settings.spectra,
        "--as-layer": settings.as_layer,
        "--as-table": settings.as_table,
        "--from": settings.sources,
        "--to": settings.targets,
    }
    yield from (word for option, named in globs.items() for glob in named for word in (option, glob))


def _flags(settings: Settings) -> dict[str, bool]:
    """Words that stand alone, and whether each is needed."""
    size = "x".join(map(str, settings.input_size or ()))
    ends = "" if settings.input_range is None else _range(settings.input_range, ",")
    return {
        "--exact": settings.exact,
        "--spread": settings.spread,
        f"--attention={settings.attention}": bool(settings.attention),
        "--as-stride-1": settings.as_stride_1,
        f"--input-size={size}": bool(size),
        f"--input-range={ends}": bool(ends),
        f"--empirical={settings.empirical}": bool(settings.empirical),
        f"--tolerance={settings.tolerance!r}": settings.tolerance != TOLERANCE,
        f"--work-limit={settings.work_limit!r}": settings.work_limit != WORK_LIMIT,
        f"--network-effort={settings.network_effort}": settings.network_effort not in ("", NORMAL),
        f"--device={settings.device}": settings.device not in ("auto", "cpu"),
    }


def _range(ends: tuple[float, float], separator: str = " to ") -> str:
    return f"{ends[0]!r}{separator}{ends[1]!r}"
