"""The one orchestrator: a `Network` and what the user wants to know become an `Audit`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from convsv_cli.auditing.declared import declared
from convsv_cli.auditing.empirical import check_empirical, empirical_of
from convsv_cli.auditing.measure import measure
from convsv_cli.auditing.network import bound_of
from convsv_cli.auditing.plan import Meter, plan, resolve_device
from convsv_cli.auditing.spectra import check_spectra, spectra_of
from convsv_cli.auditing.summary import findings, model_of, totals
from convsv_cli.calculators import CALCULATORS
from convsv_cli.model.network import Network
from convsv_cli.report import Audit, Settings
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.version import __version__


def audit_network(
    network: Network, settings: Settings, progress: Callable[[str, float], None] | None = None
) -> Audit:
    """Audit the chosen layers of a network.

    Args:
        network: as a loader gave it, at the input size of `settings`.
        settings: which layers and figures, and where to compute them.
        progress: called with the layer that is being worked on and the share of all work done, 0 to 1.

    Raises:
        UsageError: no layer matches one of `settings.layers`; the rows are not what `declared` is to make of
            them; an exact norm is asked for, and no convolution knows its input size; no such device.
    """
    start = time.perf_counter()
    network = declared(network, settings)
    check_empirical(network, settings)
    check_spectra(network, settings)
    device = resolve_device(settings.device)
    tasks = plan(network, settings)
    meter = Meter(progress, sum(task.work for task in tasks))
    with one_thread_each():
        rows = tuple(measure(task, device, meter) for task in tasks)
        bound = bound_of(network, rows, settings, device, meter)
    bound = replace(bound, empirical=empirical_of(network, bound, settings, progress))
    spectra, missing = spectra_of(network, settings, progress)
    return Audit(
        version=__version__,
        model=model_of(network),
        settings=settings,
        methods=tuple(calculator.method for calculator in CALCULATORS),
        layers=rows,
        network=totals(rows),
        bound=bound,
        findings=(*findings(rows, bound, network, settings), *missing),
        seconds=time.perf_counter() - start,
        spectra=spectra,
    )
