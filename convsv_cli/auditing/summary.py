"""What a report says beside its rows: of which files it is, products, coverage, and findings to act on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from convsv_cli import deadline, limits
from convsv_cli.calculators import CALCULATORS
from convsv_cli.errors import ConvsvError
from convsv_cli.loaders.files import locate
from convsv_cli.model.network import Network
from convsv_cli.remote.files import is_partial, opened
from convsv_cli.renderers.numbers import counted, percent
from convsv_cli.report import (
    AUDITED,
    ERROR,
    INTERRUPTED,
    INVALID,
    LEFT_OUT,
    NOT_APPLICABLE,
    NOT_REACHED,
    NOTE,
    TIME_LIMIT,
    TIMED_OUT,
    UNSUPPORTED,
    WARNING,
    Finding,
    LayerAudit,
    Model,
    NetworkBound,
    NetworkTotals,
    Settings,
    Update,
)

BLOCK = 2**20
TIMED = (
    "stopped by --time-limit: what is proven holds, but more time may prove smaller figures; how much was"
    " done by then depends on the machine"
)


def model_of(network: Network) -> Model:
    """What a report says of the file that a network is from."""
    digests = digests_of(network)
    whole = not any(source and is_partial(source) for source in _files(network))
    return Model(
        path=network.path,
        format=network.format,
        sha256=combined(network.files, digests) if whole and digests else "",
        files=network.files,
        files_sha256=digests if len(digests) > 1 else (),
        opset=network.opset,
        input_shape=network.inputs,
    )


def digests_of(network: Network) -> tuple[str, ...]:
    """Of each of the network's files, hexadecimal; empty for one that is not there, and was not needed.

    Of a remote one that is not here as a whole, it is empty, too.

    A file that has several names is read once.
    """
    digest = cache(_digest)
    return tuple(map(digest, _files(network)))


def _files(network: Network) -> list[Path | None]:
    """Where each of the network's files is; None for one that is not there."""
    sources = network.sources or (Path(network.path),) * len(network.files)
    return [
        source if name == source.name else _part(source, name)
        for source, name in zip(sources, network.files, strict=True)
    ]


def combined(files: tuple[str, ...], digests: tuple[str, ...]) -> str:
    """The digest of a whole model: that of its file; of several, that of what `sha256sum FILE...` prints."""
    if len(files) == 1:
        return digests[0]
    lines = (f"{digest}  {name}\n" for name, digest in zip(files, digests, strict=True))
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()


def _part(model: Path, name: str) -> Path | None:
    try:
        return locate(model, name, "the model")
    except ConvsvError:
        return None


def _digest(path: Path | None) -> str:
    if path is None or is_partial(path):
        return ""
    digest = hashlib.sha256()
    with opened(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def totals(rows: tuple[LayerAudit, ...], *, of_network: bool = True) -> NetworkTotals:
    """Products by calculator, coverage, and each assumption once; no products of what was reached alone.

    Nor are there any where the rows are not `of_network`: of an adapter's updates they would say nothing.
    """
    layers = [row for row in rows if row.status != NOT_APPLICABLE]
    audited = [row for row in layers if row.status == AUDITED]
    whole = of_network and all(row.reason != NOT_REACHED for row in layers)
    return NetworkTotals(
        product=tuple(
            (c.method.name, _product(audited if whole else [], c.method.name))
            for c in CALCULATORS
            if c.method.column
        ),
        coverage=len(audited) / len(layers) if layers else 1.0,
        assumptions=tuple(dict.fromkeys(line for row in rows for line in row.assumed)),
    )


def _product(rows: list[LayerAudit], calculator: str) -> float | None:
    """The product of the figures; None where a row lacks it, or there is no row."""
    figures = [m.value for row in rows if (m := row.measurement(calculator)) is not None]
    return math.prod(figures) if figures and len(figures) == len(rows) else None


def ended_early(status: str, rows: tuple[LayerAudit, ...], bound: NetworkBound) -> tuple[Finding, ...]:
    """That an audit was not made to its end, if so, and what it lacks."""
    if status == TIME_LIMIT:
        return (Finding(rule=TIMED_OUT, severity=WARNING, node="", message=TIMED),)
    if status != INTERRUPTED:
        return ()
    left = sum(row.reason == NOT_REACHED for row in rows)
    network = " and the network" if bound.reason == NOT_REACHED else ""
    what = f"{counted(left, 'layer')}{network}" if left else network.removeprefix(" and ")
    message = f"interrupted before {what} had figures" if what else "interrupted: more might have been proven"
    return (Finding(rule=INTERRUPTED, severity=WARNING, node="", message=message),)


def findings(
    rows: tuple[LayerAudit, ...], bound: NetworkBound, network: Network, settings: Settings
) -> tuple[Finding, ...]:
    """Layers that were not audited, figures that are missing, and assumptions, in the rows' order."""
    general = [
        Finding(rule=LEFT_OUT, severity=WARNING, node="", message=note)
        if note in network.left_out
        else Finding(rule="file", severity=NOTE, node="", message=note)
        for note in network.notes
    ]
    obstacles = [
        Finding(rule="unbounded-node", severity=WARNING, node=o.node, message=f"{o.op}: {o.reason}")
        for o in bound.obstacles
    ]
    return (*general, *(finding for row in rows for finding in _row_findings(row, settings)), *obstacles)


def _row_findings(row: LayerAudit, settings: Settings) -> Iterator[Finding]:
    if row.reason == NOT_REACHED:
        return
    if row.status == UNSUPPORTED:
        yield Finding(rule="unsupported-layer", severity=WARNING, node=row.name, message=row.reason)
    elif row.status == NOT_APPLICABLE:
        yield Finding(rule="not-applicable", severity=NOTE, node=row.name, message=row.reason)
    elif row.status == INVALID:
        yield Finding(rule="invalid-layer", severity=ERROR, node=row.name, message=row.reason)
    elif settings.exact and row.input_size is None:
        message = "no exact norm: the input size of this layer is unknown"
        yield Finding(rule="exact-unavailable", severity=WARNING, node=row.name, message=message)
    if row.update is not None and row.update.is_spike:
        yield Finding(rule="rank-1-spike", severity=NOTE, node=row.name, message=_spike(row.update))
    for name, measurement in row.measurements:
        width = measurement.relative_width
        if name == "certified" and width > 2 * settings.tolerance:
            message = _wide(width, settings, row.assumed)
            yield Finding(rule="work-limit", severity=WARNING, node=row.name, message=message)
    for line in row.assumed:
        yield Finding(rule="assumed", severity=NOTE, node=row.name, message=line)


def _spike(update: Update) -> str:
    """Of an update of which nearly all is its first singular value."""
    share = 1 / update.stable_rank.upper if update.stable_rank else 0.0
    of = f" of rank {update.rank}" if update.rank else ""
    return f"a rank-1 spike: one singular value has {percent(share)} of what the update{of} has in all"


def _wide(width: float, settings: Settings, noted: Sequence[str]) -> str:
    """Of an interval that is wider than was asked for; without a limit on the work, it is rounding's.

    `noted` is what the row says: that the model's allowance was the reason, or the end of the run.
    """
    to = "from above only" if width >= 1 else f"only to {percent(width)}"
    for why in filter(None, deadline.WORDS.values()):
        if any(why in line for line in noted):
            return f"certified {to}: {why}"
    if any(limits.STEP_OPTION in line for line in noted):
        return f"certified {to}: more would take more than the model may ({limits.STEP_OPTION} raises that)"
    if math.isinf(settings.work_limit):
        return f"certified {to}: rounding hides the rest"
    return (
        f"certified {to}: the work limit was reached first (raise --work-limit), or rounding hides the rest"
    )
