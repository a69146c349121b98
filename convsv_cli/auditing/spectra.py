"""All singular values of chosen layers, summed up, and handed to whoever keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from convsv_cli import deadline, limits
from convsv_cli.auditing.guarding import guarded, weight_of
from convsv_cli.auditing.measure import fault_of, row_of, unmeasured
from convsv_cli.auditing.plan import AnyLayer, Meter, chosen_layers, declared, resolve_device
from convsv_cli.limits import LimitError
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Layer
from convsv_cli.model.network import Network
from convsv_cli.renderers.spectrum import Keeper
from convsv_cli.report import (
    INVALID,
    NOT_APPLICABLE,
    NOTE,
    UNSUPPORTED,
    WARNING,
    Distribution,
    Finding,
    LayerAudit,
    LayerSpectrum,
    Settings,
    Spectra,
    Spectrum,
)
from convsv_cli.spectral.norms import norms_of
from convsv_cli.spectral.spectrum import Tally, ask_for_values, count_values, singular_values, spectrum_work
from convsv_cli.version import __version__

AUDIT_BINS = 48
"""Of each histogram in a report."""


def layer_spectra(
    network: Network,
    settings: Settings,
    *,
    bins: int,
    keepers: Sequence[Keeper] = (),
    progress: Callable[[str, float], None] | None = None,
) -> Spectra:
    """The spectra of the chosen layers.

    Args:
        network: as a loader gave it, at the input size of `settings`.
        settings: which layers, and where to compute.
        bins: of each histogram, at least 1.
        keepers: each is given all values.
        progress: called with the layer that is being worked on and the share of all work done, 0 to 1.

    Raises:
        UsageError: no layer matches one of `settings.layers`; no convolution knows its input size; the
            device is not there.
    """
    device = resolve_device(settings.device)
    network = declared(network, settings)
    layers = chosen_layers(network, settings, sizes_for="a spectrum")
    meter = Meter(progress, sum(map(_work, layers)))
    spectrum = _Spectrum(settings, device, bins, keepers, meter)
    return Spectra(
        version=__version__,
        path=network.path,
        format=network.format,
        opset=network.opset,
        inputs=network.inputs,
        notes=network.notes,
        layers=tuple(map(spectrum.of, layers)),
    )


def check_spectra(network: Network, settings: Settings) -> None:
    """Check, before hours of work, that the layers are there.

    Raises:
        UsageError: as `layer_spectra`.
    """
    chosen_layers(network, _for_spectra(settings), sizes_for="a spectrum")


def spectra_of(
    network: Network, settings: Settings, progress: Callable[[str, float], None] | None
) -> tuple[tuple[Spectrum, ...], tuple[Finding, ...]]:
    """Those that `settings.spectra` asks for, and why some layers have none.

    Raises:
        UsageError: as `layer_spectra`.
    """
    with limits.apart():
        found = layer_spectra(network, _for_spectra(settings), bins=AUDIT_BINS, progress=progress).layers
    spectra = tuple(
        Spectrum(layer=each.row.name, size=each.size, distribution=each.distribution)
        for each in found
        if each.distribution is not None
    )
    missing = tuple(
        Finding(
            rule="spectrum-unavailable",
            severity=NOTE if each.row.status == NOT_APPLICABLE else WARNING,
            node=each.row.name,
            message=f"no spectrum: {each.row.reason}",
        )
        for each in found
        if each.distribution is None
    )
    return spectra, missing


def _for_spectra(settings: Settings) -> Settings:
    return replace(settings, layers=settings.spectra)


class _Spectrum:
    """What is the same for all layers."""

    def __init__(
        self, settings: Settings, device: torch.device, bins: int, keepers: Sequence[Keeper], meter: Meter
    ) -> None:
        self._settings, self._device, self._bins = settings, device, bins
        self._keepers, self._meter = keepers, meter

    def of(self, layer: AnyLayer) -> LayerSpectrum:
        """The spectrum of one layer, or why there is none."""
        if not isinstance(layer, Layer):
            return LayerSpectrum(row=unmeasured(layer))
        row = row_of(layer)
        size = _size(layer)
        if size is None:
            reason = "the input size of this layer is unknown"
            return LayerSpectrum(row=replace(row, status=UNSUPPORTED, reason=reason))
        if why := deadline.words():
            return LayerSpectrum(row=replace(row, status=UNSUPPORTED, reason=why))
        self._meter.start(layer.name)
        return guarded(
            lambda: self._found(layer, row, size),
            lambda why: LayerSpectrum(row=replace(row, status=UNSUPPORTED, reason=why)),
        )

    def _found(self, layer: Layer, row: LayerAudit, size: tuple[int, ...]) -> LayerSpectrum:
        weight = weight_of(layer)
        fault = fault_of(weight, layer.geometry)
        if fault:
            return LayerSpectrum(row=replace(row, status=INVALID, reason=fault))
        kernel = reduce_kernel(weight.to(self._device), layer.geometry)
        distribution = self._distribution(layer, kernel, size)
        return LayerSpectrum(row=row, size=kernel.circular_size(size), distribution=distribution)

    def _distribution(self, layer: Layer, kernel: Kernel, size: tuple[int, ...]) -> Distribution:
        count, work = count_values(kernel, size), spectrum_work(kernel, size)
        ask_for_values(kernel, size, kept=count if self._keepers else 0)
        tally = Tally(upper=_upper(kernel, size, self._settings.work_limit), bins=self._bins)
        for keeper in self._keepers:
            keeper.begin(layer.name, count)
        for block in singular_values(kernel, size):
            tally.add(block)
            for keeper in self._keepers:
                keeper.add(block)
            self._meter.advance(work * block.count // count)
        for keeper in self._keepers:
            keeper.end()
        return tally.distribution()


def _upper(kernel: Kernel, size: tuple[int, ...], limit: float) -> float:
    """A proven upper end of all singular values; that of every size, where it takes too much at this one."""
    norms = norms_of(kernel)
    try:
        return norms.on_grid(kernel.grid(size), limit=limit).upper
    except LimitError:
        return norms.bound()


def _size(layer: Layer) -> tuple[int, ...] | None:
    """Of the layer's input; () for a matrix, None where unknown."""
    return () if len(layer.kernel_shape) == 2 else layer.input_size


def _work(layer: AnyLayer) -> int:
    """Up to a factor; none for a layer that has no spectrum."""
    if not isinstance(layer, Layer) or 0 in layer.kernel_shape:
        return 0
    size = _size(layer)
    if size is None or layer.kernel_shape[0] % layer.geometry.groups:
        return 0
    kernel = reduce_kernel(torch.empty(layer.kernel_shape, device="meta"), layer.geometry)
    return spectrum_work(kernel, size)
