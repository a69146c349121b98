"""The one orchestrator: a model, or its `Network`, and what the user wants to know become an `Audit`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from convsv_cli import arguments, deadline
from convsv_cli.auditing.ahead import in_turn
from convsv_cli.auditing.attention import heads_of, products_of
from convsv_cli.auditing.cached import Known
from convsv_cli.auditing.measure import bound_of, measure, not_reached, unbounded_because
from convsv_cli.auditing.plan import Meter, Task, check_asked, declared, plan, resolve_device
from convsv_cli.auditing.spectra import check_spectra, spectra_of
from convsv_cli.auditing.summary import ended_early, findings, model_of, totals
from convsv_cli.cache import Entries
from convsv_cli.calculators import CALCULATORS
from convsv_cli.empirical import check_empirical, empirical_of
from convsv_cli.errors import UsageError
from convsv_cli.limits import allowing, expect
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.loaders import load, load_adapters, load_with_graph
from convsv_cli.model.network import ADAPTER, InputSize, Network
from convsv_cli.remote import is_remote
from convsv_cli.remote.mirror import Mirror, mirrored
from convsv_cli.report import (
    COMPLETE,
    NOT_REACHED,
    NOTE,
    UNKNOWN,
    Audit,
    Finding,
    LayerAudit,
    Model,
    NetworkBound,
    Settings,
    Spectrum,
)
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.version import __version__

Progress = Callable[[str, float], None]
BASE_AND_GRAPH = "--base and --with are for adapters, which have no graph: leave out --graph, or these"
READ = "file"
"""The rule of what a report notes about files."""


def audit_file(
    model: str | Path,
    settings: Settings,
    *,
    graph: str | Path | None = None,
    base: str | Path | None = None,
    stacked: Sequence[str | Path] = (),
    progress: Progress | None = None,
    cache: Entries | None = None,
) -> Audit:
    """Audit the chosen layers of a model file.

    Args:
        model: the file, or the address of a remote one.
        settings: which layers and figures, and where to compute them.
        graph: an ONNX graph for the weights of a checkpoint.
        base: the model that an adapter was trained on; not with a graph.
        stacked: further adapters that are active at the same time.
        progress, cache: as in `audit_network`.

    Raises:
        UnreadableModelError: the file is missing, damaged or no model.
        UnsafeModelError: reading it would be unsafe; nothing of it was executed.
        UsageError: a setting is out of its range; as `audit_network`.
    """
    return reached(
        lambda file, *places: audit_network(loaded(file, settings, *places), settings, progress, cache),
        model,
        graph,
        base,
        *stacked,
    )


def loaded(
    model: str | Path,
    settings: Settings,
    graph: str | Path | None = None,
    base: str | Path | None = None,
    *stacked: str | Path,
) -> Network:
    """The network in a model file, at the input size of the settings, which are checked first.

    Raises:
        UnreadableModelError, UnsafeModelError, UsageError: as `audit_file`.
    """
    arguments.check(settings)
    size = InputSize(size=settings.input_size, shapes=settings.input_shapes)
    if base is None and not stacked:
        return load(model, size) if graph is None else load_with_graph(model, graph, size)
    if graph is not None:
        raise UsageError(BASE_AND_GRAPH)
    return load_adapters((model, *stacked), base, size)


def audit_network(
    network: Network, settings: Settings, progress: Progress | None = None, cache: Entries | None = None
) -> Audit:
    """Audit the chosen layers of a network.

    Within a run (see `deadline`), Ctrl-C and the end of its time give the audit as far as it got.

    Args:
        network: as a loader gave it, at the input size of `settings`.
        settings: which layers and figures, and where to compute them.
        progress: called with the layer that is being worked on and the share of all work done, 0 to 1.
        cache: what earlier audits have found, to which what this one finds is added; None for none.

    Raises:
        UsageError: no layer matches one of `settings.layers`; the rows are not what `declared` is to make of
            them; an exact norm is asked for, and no convolution knows its input size; no such device; no such
            tensor, or none of real numbers, in `settings.sources` or `settings.targets`.
    """
    start = time.perf_counter()
    network = declared(network, settings)
    check_asked(network, settings)
    if settings.empirical:
        check_empirical(network, settings.empirical)
    if settings.spectra:
        check_spectra(network, settings)
    if settings.attention:
        heads_of(network, settings.attention)
    known, model = Known(cache), model_of(network)
    before = known.audit(model, settings)
    if before is not None:
        return replace(before, seconds=time.perf_counter() - start)
    audit = replace(_audited(network, model, settings, known, progress), seconds=time.perf_counter() - start)
    known.keep_audit(audit)
    return audit


def _audited(
    network: Network,
    model: Model,
    settings: Settings,
    known: Known,
    progress: Progress | None,
) -> Audit:
    """The audit, but for the time that it took."""
    device, tasks = resolve_device(settings.device), plan(network, settings)
    effort = Effort(level=settings.network_effort, work=sum(task.work for task in tasks))
    expect(effort.patience)
    search = 0.0 if unbounded_because(network, settings) else effort.planned
    meter = Meter(progress, effort.work + search)
    because = unbounded_because(network, settings) or NOT_REACHED
    rows, bound = _figures(
        tasks,
        NetworkBound(status=UNKNOWN, reason=because, effort=effort.level),
        lambda task: measure(task, device, meter, known),
        lambda rows: bound_of(network, rows, settings, device, meter, effort=effort),
    )
    spectra: tuple[Spectrum, ...] = ()
    missing: tuple[Finding, ...] = ()
    with deadline.ending():
        if settings.empirical and not deadline.ended():
            bound = replace(bound, empirical=empirical_of(network, bound, settings, progress))
        if settings.spectra and not deadline.ended():
            spectra, missing = spectra_of(network, settings, progress)
        names = {row.name for row in rows}
        products = products_of(network, settings, device, names) if settings.attention else ()
    status = deadline.outcome() or COMPLETE
    return Audit(
        version=__version__,
        model=model,
        settings=settings,
        methods=tuple(calculator.method for calculator in CALCULATORS),
        layers=rows,
        network=totals(rows, of_network=network.format != ADAPTER),
        bound=bound,
        findings=(*ended_early(status, rows, bound), *findings(rows, bound, network, settings), *missing),
        seconds=0.0,
        spectra=spectra,
        products=products,
        status=status,
    )


def _figures(
    tasks: Sequence[Task],
    blank: NetworkBound,
    measured: Callable[[Task], LayerAudit],
    bounded: Callable[[tuple[LayerAudit, ...]], NetworkBound],
) -> tuple[tuple[LayerAudit, ...], NetworkBound]:
    """The row of each task, and the bound of the network; without figures what Ctrl-C came before."""
    rows: dict[int, LayerAudit] = {}
    with deadline.ending(), one_thread_each():
        rows.update(in_turn(tasks, measured))
        if len(rows) == len(tasks):
            blank = bounded(tuple(rows.values()))
    return tuple(rows.get(i) or not_reached(task.layer) for i, task in enumerate(tasks)), blank


def reached(run: Callable[..., Audit], model: str | Path, *further: str | Path | None) -> Audit:
    """What is found of a model, as one piece of work, with addresses in place of this machine's paths.

    Args:
        run: audits a file on this machine, with what is in further ones, as its arguments.
        model, further: paths, or addresses; None for what there is not.

    Raises:
        ConvsvError: as `run`; or a remote file cannot be read.
    """
    mirrors: list[Mirror] = []
    with ExitStack() as stack:

        def here(path: str | Path) -> Path:
            if not is_remote(path):
                return Path(path)
            mirrors.append(stack.enter_context(mirrored(path)))
            return mirrors[-1].path

        with allowing():
            audit = run(here(model), *(None if path is None else here(path) for path in further))
    for mirror in mirrors:
        audit = _addressed(audit, mirror)
    return audit


def _addressed(audit: Audit, mirror: Mirror) -> Audit:
    note = Finding(rule=READ, severity=NOTE, node="", message=mirror.note())
    found = [replace(finding, message=mirror.told(finding.message)) for finding in audit.findings]
    path = mirror.told(audit.model.path)
    return replace(audit, model=replace(audit.model, path=path), findings=(note, *found))
