"""Layers, and the network that they make up, measured.

A layer's weight is read, checked and reduced, and each calculator has its say. The network is bounded from
the norms that its rows have: all of them, or those that it asks for.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from threading import Lock

import torch

from convsv_cli.auditing.cached import Known
from convsv_cli.auditing.guarding import guarded
from convsv_cli.auditing.plan import AnyLayer, Meter, Task
from convsv_cli.auditing.repeats import begun
from convsv_cli.auditing.updates import Held, held_by, update_of, with_update
from convsv_cli.calculators.calculator import Calculator, Problem
from convsv_cli.limits import LimitError
from convsv_cli.lipschitz.bound import network_bound
from convsv_cli.lipschitz.effort import Effort
from convsv_cli.lipschitz.ends import Ends
from convsv_cli.lipschitz.norms import Norms, kernel_norm, rows_by_key
from convsv_cli.lipschitz.operation import UnboundedError
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Geometry, Layer, UnsupportedLayer
from convsv_cli.model.network import ADAPTER, Network
from convsv_cli.report import (
    AUDITED,
    INVALID,
    NOT_APPLICABLE,
    NOT_REACHED,
    UNKNOWN,
    UNSUPPORTED,
    Interval,
    LayerAudit,
    Measurement,
    NetworkBound,
    Settings,
)
from convsv_cli.spectral.norms import norms_of as kernel_norms
from convsv_cli.spectral.spread import spread_of

WHOLE = "the whole network"
SUPPLY = "{} (--graph MODEL.onnx supplies the graph)"
SOME = "only some layers were audited"
AS_STRIDE_1 = "the strides are not the network's own, as asked"
CERTIFIED = ("certified", "bound", "zero_padded")
"""Calculators with certified upper ends that hold for zero padding: at every size, or at the layer's own."""
COARSE = 1e-3
"""Relative width that is good enough for the norms of folded kernels: they are multiplied anyway."""
NEEDED = ("certified", "bound")
"""Calculators without which a row has no figures; what the others would take too much for is left out."""
LARGE = 10**6
"""Entries of a weight after which there is something to give back."""

READING = Lock()
"""Held while a weight is read: layers may have a file in common."""


def measure(task: Task, device: torch.device, meter: Meter, known: Known | None = None) -> LayerAudit:
    """The row of one layer: its measurements, or why there are none.

    `known` is what earlier audits, and this one, have found; None for nothing.

    Raises:
        RepeatedError: it is ahead of its turn, and an equal layer is measured.
    """
    blank = row_of(task.layer)
    row = guarded(
        lambda: _measured(task, device, meter, known or Known()),
        lambda why: replace(blank, status=UNSUPPORTED, reason=why),
    )
    if math.prod(row.kernel_shape) >= LARGE:
        trim_heap()
    return row


def _measured(task: Task, device: torch.device, meter: Meter, known: Known) -> LayerAudit:
    layer = task.layer
    if not isinstance(layer, Layer):
        return unmeasured(layer)
    meter.start(layer.name)
    with READING:
        held = held_by(layer)
    blank = replace(row_of(layer), weight_sha256=held.digest)
    if fault := fault_of(held.weight, layer.geometry):
        meter.advance(task.work)
        return replace(blank, status=INVALID, reason=fault)
    kernel = reduce_kernel(held.weight.to(device), layer.geometry)
    # Most of the work of an update comes after its figures, which are of a smaller kernel.
    within = meter if held.small is None else Meter()
    row = known.row(task, blank) or known.repeats.row(task, blank)
    if row is not None:
        within.advance(task.work)
    else:
        before = begun()
        row = _computed(task, blank, held, kernel, within)
        known.repeats.keep(task, blank, row, before)
        known.keep_row(task, blank, row)
    row = with_update(row, task, held, kernel)
    meter.advance(task.work if within is not meter else 0)
    if task.settings.spread and row.status == AUDITED and row.update is None:
        row = _with_spread(row, held.weight.to(device))
    return replace(row, assumed=(*row.assumed, *_moved(row)))  # of the figures that are asked for now


def _with_spread(row: LayerAudit, weight: torch.Tensor) -> LayerAudit:
    """The row with how the singular values of its weight spread."""
    certified = row.measurement("certified")
    norm = (certified and certified.enclosure) or Interval()
    try:
        return replace(row, spread=spread_of(weight, norm))
    except LimitError as error:
        assumed = (*row.assumed, f"no smallest singular value: {error}")
        return replace(row, assumed=assumed, spread=spread_of(weight, norm, smallest=False))


def _computed(task: Task, blank: LayerAudit, held: Held, kernel: Kernel, meter: Meter) -> LayerAudit:
    """The row with what each calculator says of its kernel."""
    problem = task.problem(kernel)
    measurements, missing = {}, []
    for calculator in task.calculators:
        name = calculator.method.name
        found = _timed(calculator, problem, meter)
        if isinstance(found, Measurement):
            measurements[name] = held.said(calculator.method.kind, found)
        elif name in NEEDED:
            return replace(blank, status=UNSUPPORTED, reason=str(found))
        else:
            missing.append(f"no {name.replace('_', '-')} norm: {found}")
    row = replace(blank, measurements=tuple(measurements.items()))
    return replace(row, assumed=(*row.assumed, *missing, *kernel_norms(kernel).notes))


def _timed(calculator: Calculator, problem: Problem, meter: Meter) -> Measurement | LimitError:
    """What the calculator says, or why that would take too much."""
    start = time.perf_counter()
    try:
        measurement = calculator.calculate(problem)
    except LimitError as error:
        return error
    finally:
        meter.advance(calculator.work(problem))
    return replace(measurement, seconds=time.perf_counter() - start)


def fault_of(weight: torch.Tensor, geometry: Geometry) -> str:
    """Why the weight is no kernel; empty where it is one."""
    if not weight.numel():
        return f"the weight is empty: its shape is {'x'.join(map(str, weight.shape))}"
    if not all(map(math.isfinite, torch.stack(weight.aminmax()).tolist())):  # a NaN is both
        return "the weight holds NaN or infinity"
    if weight.shape[0] % geometry.groups:
        return f"{weight.shape[0]} channels cannot be split into {geometry.groups} groups"
    return ""


def _moved(row: LayerAudit) -> tuple[str, ...]:
    """Says so where an exact figure is for another size than the layer's."""
    sizes = sorted({m.size for _, m in row.measurements if m.size not in (None, row.input_size)}, key=str)
    return tuple(
        f"exact at n = {'x'.join(map(str, size or ()))}: circular padding needs a multiple of the stride"
        for size in sizes
    )


def unmeasured(layer: UnsupportedLayer) -> LayerAudit:
    """The row of what is not measured."""
    status = UNSUPPORTED if layer.applicable else NOT_APPLICABLE
    return replace(row_of(layer), status=status, reason=layer.reason)


def not_reached(layer: AnyLayer) -> LayerAudit:
    """The row of a layer to which an audit that was interrupted did not get."""
    if not isinstance(layer, Layer):
        return unmeasured(layer)
    return replace(row_of(layer), status=UNSUPPORTED, reason=NOT_REACHED)


def row_of(layer: AnyLayer) -> LayerAudit:
    """The row of a layer before anything is measured."""
    geometry = layer.geometry if isinstance(layer, Layer) else Geometry()
    return LayerAudit(
        name=layer.name,
        weight=layer.weight,
        aliases=layer.aliases,
        op=layer.op,
        kernel_shape=layer.kernel_shape,
        stride=geometry.stride,
        dilation=geometry.dilation,
        groups=geometry.groups,
        transposed=geometry.transposed,
        padding=geometry.padding,
        padding_mode=geometry.padding_mode,
        output_padding=geometry.output_padding,
        input_size=layer.input_size if isinstance(layer, Layer) else None,
        dtype=layer.dtype,
        update=update_of(layer),
        assumed=layer.assumed if isinstance(layer, Layer) else (),
    )


def trim_heap() -> None:
    """Have the C library return what is free; it does nothing where that is not glibc."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def unbounded_because(network: Network, settings: Settings) -> str:
    """Why an audit does not bound the network; empty where it does."""
    if network.graph is None:
        missing = network.graph_missing
        return missing if network.format == ADAPTER else SUPPLY.format(missing)
    return SOME if settings.layers else AS_STRIDE_1 if settings.as_stride_1 else ""


def bound_of(
    network: Network,
    rows: tuple[LayerAudit, ...],
    settings: Settings,
    device: torch.device,
    meter: Meter,
    *,
    effort: Effort,
    tolerance: float = COARSE,
) -> NetworkBound:
    """The bound of the network, or why there is none.

    `effort` is how long is searched, which the meter is told. `tolerance` is the relative width that is good
    enough for the norms of kernels that are no rows, unless the settings ask for less.
    """
    reason = unbounded_because(network, settings)
    if network.graph is None or reason:
        return NetworkBound(status=UNKNOWN, reason=reason, effort=effort.level)
    meter.start(WHOLE)
    known = {row.name: row for row in rows}
    norms = norms_of(network, lambda name: _certified(known[name]), settings, device, tolerance)
    told = replace(effort, progress=meter.part(WHOLE, effort.planned))
    return network_bound(network.graph, norms, settings.input_range, told, Ends.of(settings))


def norms_on_demand(
    network: Network, tasks: Sequence[Task], settings: Settings, device: torch.device, meter: Meter
) -> Norms:
    """The norms of a network, those of rows as an audit has them, each measured when first asked for."""
    planned = {task.layer.name: task for task in tasks}

    @cache
    def row(name: str) -> LayerAudit:
        task = planned[name]
        proofs = tuple(each for each in task.calculators if each.method.name in CERTIFIED)
        return measure(replace(task, calculators=proofs), device, meter)

    return norms_of(network, lambda name: _certified(row(name)), settings, device)


def norms_of(
    network: Network,
    of_row: Callable[[str], float],
    settings: Settings,
    device: torch.device,
    tolerance: float = COARSE,
) -> Norms:
    """The norms of rows, and of other kernels to this relative width, unless the settings ask for less."""
    of_kernel = partial(
        kernel_norm,
        tolerance=max(tolerance, settings.tolerance),
        work_limit=settings.work_limit,
        device=device,
    )
    return Norms(rows=rows_by_key(network.layers), of_row=of_row, of_kernel=of_kernel)


def _certified(row: LayerAudit) -> float:
    """The least upper end that is proven of a row's norm.

    Raises:
        UnboundedError: there is none.
    """
    if row.status != AUDITED:
        raise UnboundedError(row.reason)
    upper = min(_uppers(row), default=math.inf)
    if not math.isfinite(upper):
        raise UnboundedError("its norm has no certified upper end")
    return upper


def _uppers(row: LayerAudit) -> list[float]:
    measured = [row.measurement(name) for name in CERTIFIED]
    return [m.enclosure.upper for m in measured if m is not None and m.enclosure is not None]
