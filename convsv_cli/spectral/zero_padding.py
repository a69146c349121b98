r"""The layer's own operator, zero padding and all: enclosed from both sides.

*From below*: the operator and its adjoint are applied in float64 (torch's conv and conv_transpose),
Lanczos steps on A* A find a vector x, and |A x| / |x| less its rounding is below the norm. The first
vector is the plane wave that the convolution amplifies most, under a window that vanishes outside the
input: by itself within O(1 / n^2) of the supremum.

*From above*: a Cholesky factorization of the Gram matrix of the layer as it is proves a level just above what
was found (see `padded_gram`). Where that takes too much, the operator is a submatrix of the circular
convolution at every size N >= n + p that the stride divides, p the larger one-sided padding: the padded zeros
lie on the circle between the end of the input and its beginning, and no two outputs that see the input share
a place.

A transposed layer is treated by its adjoint, whose input is as long as the layer's own output, output padding
and all. What only meets zeros is left out first, so that no padding is negative or beyond the kernel's reach.
"""

from __future__ import annotations

import itertools
import math
from contextlib import suppress
from dataclasses import replace

import torch

from convsv_cli import limits
from convsv_cli.limits import LimitError
from convsv_cli.model.kernel import Kernel
from convsv_cli.model.layer import Geometry
from convsv_cli.report import Interval
from convsv_cli.spectral.ascent import nearest
from convsv_cli.spectral.matrix_norm import ZERO, Scale
from convsv_cli.spectral.norms import PlaneWave, norms_of
from convsv_cli.spectral.padded_convolution import PaddedConvolution
from convsv_cli.spectral.padded_proofs import CHEAP, GOOD, narrowest, upper_end, whole_norm
from convsv_cli.spectral.spectrum import symbol_at

LITTLE = 1e-2
WORTH = 0.1
"""Of the width of an interval: what the norm on a circle has to take off it at best."""
CLOSE, QUICK = 1e-8, 3e8
"""What may be missing of a square, relative, and multiplications of a step where that takes little time."""
MOST_AXES = 3
"""Spatial axes of torch's convolutions."""
CUT = (
    "the norm with the layer's own zero padding is enclosed less narrowly, for the model may take no more;"
    f" {limits.STEP_OPTION} and {limits.MEMORY_OPTION} raise the limits"
)


def zero_padded_norm(
    kernel: Kernel, input_size: tuple[int, ...], *, tolerance: float, limit: float = math.inf
) -> Interval:
    """The norm of a layer with the zero padding of its geometry.

    Args:
        kernel: reduced, with the layer's own weight and geometry.
        input_size: of the layer; it need not be a multiple of the stride.
        tolerance: relative; of the supremum, and of the Lanczos steps.
        limit: multiplications for each of the searches.

    Cost: a search (see `supremum`), and two convolutions in float64 for each of a dozen steps.
    """
    each = [_norm(kernel, geometry, input_size, tolerance, limit) for geometry in kernel.geometry.readings]
    found = Interval(lower=min(one.lower for one in each), upper=max(one.upper for one in each))
    wide = found.upper > found.lower * (1 + 2 * tolerance)
    norms_of(kernel).note(cut=wide and limits.refused(), said=CUT)
    return found


def _norm(
    kernel: Kernel, geometry: Geometry, input_size: tuple[int, ...], tolerance: float, limit: float
) -> Interval:
    """That of one reading."""
    layer = _without_zeros(kernel.original, geometry, input_size)
    if layer.empty or not layer.weight.any():
        return ZERO
    scale = Scale.of(layer.weight)
    layer = replace(layer, weight=scale.apply(layer.weight))
    with suppress(LimitError):
        if whole := whole_norm(layer):
            return scale.restore(whole)
    everywhere = norms_of(kernel).supremum(tolerance=tolerance, limit=limit).upper
    ceiling = everywhere * math.ldexp(1.0, -scale.exponent)
    lower, upper = 0.0, math.inf
    small = _small(layer, geometry, input_size)
    seen = 0.0  # about, of the norm on the circle
    if small is not None:
        with suppress(LimitError):  # then nothing is proven from below
            gram = narrowest(layer) if small is layer else None
            fine = gram is not None and gram.work <= CHEAP
            wave = norms_of(kernel).wave(tolerance=tolerance, limit=limit)
            seen = _seen(kernel, wave, _circle(layer))
            start = _first_vector(small, wave)
            for vector in (start, _noise(start)):
                found = small.largest(
                    vector,
                    min(tolerance / 10, CLOSE) if fine or small.work < QUICK else tolerance,
                    enough=math.inf if fine else ceiling / (1 + tolerance),
                )
                lower = max(lower, found.lower)
                if gram is not None:
                    end = upper_end(layer, gram, found, ceiling=ceiling, tolerance=tolerance, limit=limit)
                    upper = min(upper, end)
                if not fine or upper <= lower * (1 + GOOD):
                    break  # else the wave may have led to a vector that is not the largest
    interval = scale.restore(Interval(lower=lower, upper=upper))
    upper = min(everywhere, interval.upper)
    close = everywhere - seen <= WORTH * (everywhere - interval.lower)
    if not upper < everywhere and lower * (1 + tolerance) < ceiling and not close:
        upper = min(upper, _on_circle(kernel, _circle(layer), tolerance, limit))
    return Interval(lower=min(interval.lower, upper), upper=upper)


def _seen(kernel: Kernel, wave: PlaneWave, circle: tuple[int, ...]) -> float:
    """How much a wave is amplified at the nearest frequency of the circular layer: an estimate."""
    grid = kernel.grid(circle)
    turns = torch.tensor([wave.turns], dtype=torch.float64, device=wave.right.device)
    index = tuple(nearest(turns, grid)[0].tolist())
    symbol = symbol_at(kernel.weight[wave.block].to(torch.float64), index, grid)
    return float(torch.linalg.vector_norm(symbol @ wave.right) / torch.linalg.vector_norm(wave.right))


def _on_circle(kernel: Kernel, circle: tuple[int, ...], tolerance: float, limit: float) -> float:
    """An upper end of a submatrix of the circular layer at that input size."""
    with suppress(LimitError):  # then what holds for every size is left
        return norms_of(kernel).on_grid(kernel.grid(circle), tolerance=tolerance, limit=limit).upper
    return math.inf


def _small(
    layer: PaddedConvolution, geometry: Geometry, input_size: tuple[int, ...]
) -> PaddedConvolution | None:
    """A submatrix of the layer that is small enough to be applied: itself, or that of a smaller input.

    None where there is none.
    """
    if len(input_size) > MOST_AXES:
        return None
    while not layer.empty and not layer.fits and max(input_size) > 1:
        longest = max(input_size)
        input_size = tuple(-(-n // 2) if n == longest else n for n in input_size)
        layer = _without_zeros(layer.weight, geometry, input_size)
    return None if layer.empty or not layer.fits else layer


def _without_zeros(
    weight: torch.Tensor, geometry: Geometry, input_size: tuple[int, ...]
) -> PaddedConvolution:
    """The layer, or its adjoint, without places and taps that only ever meet zeros.

    Its padding is between 0 and the kernel's extent. Sizes may be below 1 where nothing is left.
    """
    axes = len(input_size)
    begins, ends, sizes = [], [], []
    for axis, n in enumerate(input_size):
        s, b, e = geometry.stride[axis], geometry.margins[axis], geometry.margins[axes + axis]
        extent = geometry.dilation[axis] * (weight.shape[2 + axis] - 1)
        size = s * (n - 1) + extent + 1 - b - e if geometry.transposed else n
        b -= s * max(0, -((extent - b) // s))  # outputs of which all taps lie before the input
        e = min(e, extent)
        sizes.append(size + min(b, 0) + min(e, 0))
        begins.append(max(b, 0))
        ends.append(max(e, 0))
    padded = replace(geometry, padding=(*begins, *ends), output_padding=())
    layer = PaddedConvolution(weight=weight, geometry=padded, size=tuple(sizes))
    return layer if layer.empty else replace(layer, weight=layer.met())


def _circle(layer: PaddedConvolution) -> tuple[int, ...]:
    """The `input_size` of the smallest circular layer of which the padded one is a submatrix."""
    g, axes = layer.geometry, len(layer.size)
    steps = [
        -(-(n + max(g.padding[axis], g.padding[axes + axis])) // s)
        for axis, (n, s) in enumerate(zip(layer.size, g.stride, strict=True))
    ]
    return tuple(n if g.transposed else n * s for n, s in zip(steps, g.stride, strict=True))


def _first_vector(layer: PaddedConvolution, wave: PlaneWave) -> torch.Tensor:
    """The wave on the layer's own lattice, under a window: float64 [1, c_in, *n].

    Channel (i, r) of the reduced kernel at place q is channel i at place s q + d r, less the padding at the
    beginning; see `kernels`. A little of every direction is added, for the wave may pass a small layer by.
    """
    g = layer.geometry
    channels = layer.weight.shape[1]
    amplitude = wave.left.conj() if g.transposed else wave.right
    phases = [
        min(s // math.gcd(s, d), k)
        for s, d, k in zip(g.stride, g.dilation, layer.weight.shape[2:], strict=True)
    ]
    amplitude = amplitude.reshape([channels, *phases])
    x = amplitude.new_zeros((channels * g.groups, *layer.size))
    block = x[wave.block * channels : (wave.block + 1) * channels]
    everywhere = (slice(None),)
    for residue in itertools.product(*map(range, phases)):
        places, wavelets = [], []
        for axis, r in enumerate(residue):
            s, d = g.stride[axis], g.dilation[axis]
            origin = d * r - g.padding[axis]
            first = origin % s
            q = torch.arange(len(range(first, layer.size[axis], s)), device=x.device) - origin // s
            turns = wave.turns[axis] / (d // math.gcd(s, d))
            places.append(slice(first, None, s))
            wavelets.append(torch.exp(-2j * math.pi * turns * q.to(amplitude.dtype)))
        values = amplitude[everywhere + residue]
        for wavelet in wavelets:
            values = values[..., None] * wavelet
        block[everywhere + tuple(places)] = values
    for axis, n in enumerate(layer.size):
        window = torch.sin(torch.arange(1, n + 1, device=x.device) * (math.pi / (n + 1)))
        x = x * window.reshape(-1, *[1] * (len(layer.size) - 1 - axis))
    real = max(x.real, x.imag, key=lambda part: float(torch.linalg.vector_norm(part)))
    noise = _noise(real)
    strength = LITTLE * float(torch.linalg.vector_norm(real)) / float(torch.linalg.vector_norm(noise))
    return (real + max(strength, LITTLE) * noise)[None]


def _noise(like: torch.Tensor) -> torch.Tensor:
    """The same each time, without a pattern: what is nearly linear in space would miss some vectors."""
    seeded = torch.Generator().manual_seed(0)
    return torch.rand(like.shape, dtype=like.dtype, generator=seeded).to(like.device) - 0.5
