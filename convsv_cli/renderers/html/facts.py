"""What was audited, with which settings, and the command that does it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from convsv_cli.renderers.html.words import size, times
from convsv_cli.report import TOLERANCE, WORK_LIMIT, Audit, Settings
from convsv_cli.sanitize import printable

Facts = tuple[tuple[str, str], ...]


def model_facts(audit: Audit) -> Facts:
    """The file, as it was."""
    model = audit.model
    opset = f", opset {model.opset}" if model.opset is not None else ""
    facts = {
        "Path": model.path,
        "Format": f"{model.format}{opset}",
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
        "Layers": ", ".join(settings.layers) or "all",
        "Spectra": ", ".join(settings.spectra),
        "Taken for layers": ", ".join(settings.as_layer),
        "Taken for tables": ", ".join(settings.as_table),
        "Strides": "taken for 1" if settings.as_stride_1 else "",
        "Looked at from below": settings.empirical,
        "Tolerance": f"{settings.tolerance:g}",
        "Work limit": f"{settings.work_limit:g} multiplications a layer",
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
    yield from ("convsv", "audit", model.path)
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
    }
    yield from (word for option, named in globs.items() for glob in named for word in (option, glob))


def _flags(settings: Settings) -> dict[str, bool]:
    """Words that stand alone, and whether each is needed."""
    size = "x".join(map(str, settings.input_size or ()))
    ends = "" if settings.input_range is None else _range(settings.input_range, ",")
    return {
        "--exact": settings.exact,
        "--as-stride-1": settings.as_stride_1,
        f"--input-size={size}": bool(size),
        f"--input-range={ends}": bool(ends),
        f"--empirical={settings.empirical}": bool(settings.empirical),
        f"--tolerance={settings.tolerance!r}": settings.tolerance != TOLERANCE,
        f"--work-limit={settings.work_limit!r}": settings.work_limit != WORK_LIMIT,
        f"--device={settings.device}": settings.device not in ("auto", "cpu"),
    }


def _range(ends: tuple[float, float], separator: str = " to ") -> str:
    return f"{ends[0]!r}{separator}{ends[1]!r}"
