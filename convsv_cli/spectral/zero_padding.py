r"""The layer's own operator, zero padding and all: enclosed from both sides.

*From below*: the operator and its adjoint are applied in float64 (torch's conv and conv_transpose),
Lanczos steps on A* A find a vector x, and |A x| / |x| less its rounding is below the norm. The first
vector is the plane wave that the convolution amplifies most, under a window that vanishes outside the
input: by itself within O(1 / n^2) of the supremum.

*From above*: the operator is a submatrix of the circular convolution at every size N >= n + p that the
stride divides, p the larger one-sided padding: the padded zeros lie on the circle between the end of the
input and its beginning, and no two outputs that see the input share a place. Padding beyond the kernel's
reach adds outputs that are zero. A transposed layer is treated by its adjoint.

Rounding of A x, with c products a sum: |d(A x)| <= gamma_c |A| |x|, and | |A| | <= sum_t |K_t|_F.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from convsv_cli.kernels import Kernel
from convsv_cli.network import Geometry
from convsv_cli.report import Interval
from convsv_cli.spectral.eigen import start_vector
from convsv_cli.spectral.matrix_norm import ZERO
from convsv_cli.spectral.norms import Wave, norms_of
from convsv_cli.spectral.rounding import gamma, round_down
from convsv_cli.spectral.scaling import Scale

FEWEST, STEPS = 6, 24
LITTLE = 1e-2
EXHAUSTED = 1e-12  # of a vector that lies in the span of those before it, what rounding leaves


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
    if not kernel.original.any():
        return ZERO
    scale, geometry = Scale.of(kernel.original), kernel.geometry
    weight = scale.apply(kernel.original)
    layer = PaddedConvolution(weight=weight, geometry=geometry, size=_fine_size(kernel, input_size))
    if min(*layer.size, *layer.outputs) < 1:
        return ZERO
    norms = norms_of(kernel)
    everywhere = norms.everywhere(tolerance=tolerance, limit=limit)
    circular = norms.on_grid(kernel.grid(_circle(kernel, layer)), tolerance=tolerance, limit=limit)
    upper = min(everywhere.upper, circular.upper)
    start = _first_vector(kernel, layer, norms.wave(tolerance=tolerance, limit=limit))
    lower = scale.restore(Interval(lower=round_down(layer.lower(start, tolerance / 10)))).lower
    return Interval(lower=min(lower, upper), upper=upper)


def _fine_size(kernel: Kernel, input_size: tuple[int, ...]) -> tuple[int, ...]:
    """The input's size; for a transposed layer the output's, without any extra at its end."""
    g, axes = kernel.geometry, len(input_size)
    if not g.transposed:
        return input_size
    room = zip(
        input_size,
        g.stride,
        g.dilation,
        kernel.original.shape[2:],
        g.padding[:axes],
        g.padding[axes:],
        strict=True,
    )
    return tuple(s * (n - 1) + d * (k - 1) + 1 - b - e for n, s, d, k, b, e in room)


def _circle(kernel: Kernel, layer: PaddedConvolution) -> tuple[int, ...]:
    """The `input_size` of the smallest circular layer of which the padded one is a submatrix."""
    g, axes = kernel.geometry, len(layer.size)
    sizes = []
    for axis, (n, s) in enumerate(zip(layer.size, g.stride, strict=True)):
        reach = g.dilation[axis] * (kernel.original.shape[2 + axis] - 1)
        pad = max(0, *(min(p, reach) for p in (g.padding[axis], g.padding[axes + axis])))
        extra = s - 1 if g.transposed else 0  # an output padding that the geometry does not tell
        sizes.append(-(-(n + pad + extra) // s) * (1 if g.transposed else s))
    return tuple(sizes)


def _first_vector(kernel: Kernel, layer: PaddedConvolution, wave: Wave) -> torch.Tensor:
    """The wave on the layer's own lattice, under a window: float64 [1, c_in, *n].

    Channel (i, r) of the reduced kernel at place q is channel i at place s q + d r, less the padding at the
    beginning; see `kernels`. A little of every direction is added, for the wave may pass a small layer by.
    """
    g = kernel.geometry
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
    noise = start_vector(x.numel(), x.device).view(x.shape) - 0.75
    strength = LITTLE * float(torch.linalg.vector_norm(real)) / float(torch.linalg.vector_norm(noise))
    return (real + max(strength, LITTLE) * noise)[None]


@dataclass(frozen=True, kw_only=True, eq=False)
class PaddedConvolution:
    """A convolution with zero padding, x [1, c_in, *n] -> [1, c_out, *outputs].

    Attributes:
        weight: float64 [c_out, c_in / groups, *k], scaled to a norm of about 1.
        geometry: of the convolution; `transposed` is ignored.
        size: n.
    """

    weight: torch.Tensor
    geometry: Geometry
    size: tuple[int, ...]

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """A x."""
        g = self.geometry
        convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[len(self.size) - 1]
        padded = torch.nn.functional.pad(x, self._pads)
        return convolve(padded, self.weight, stride=g.stride, dilation=g.dilation, groups=g.groups)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """A* y."""
        g = self.geometry
        transposed = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[
            len(self.size) - 1
        ]
        full = transposed(y, self.weight, stride=g.stride, dilation=g.dilation, groups=g.groups)
        axes = len(self.size)
        short = [
            n + begin + end - have
            for n, begin, end, have in zip(
                self.size, g.padding[:axes], g.padding[axes:], full.shape[2:], strict=True
            )
        ]
        room = [amount for missing in reversed(short) for amount in (0, missing)]
        return torch.nn.functional.pad(torch.nn.functional.pad(full, room), [-pad for pad in self._pads])

    @property
    def outputs(self) -> tuple[int, ...]:
        """Size of the output; below 1 on an axis on which the kernel does not fit."""
        g, axes = self.geometry, len(self.size)
        padded = [n + g.padding[i] + g.padding[axes + i] for i, n in enumerate(self.size)]
        room = zip(padded, g.dilation, self.weight.shape[2:], g.stride, strict=True)
        return tuple((n - d * (k - 1) - 1) // s + 1 for n, d, k, s in room)

    @property
    def _pads(self) -> list[int]:
        """In the order of torch: the last axis first, beginning and end."""
        padding, axes = self.geometry.padding, len(self.size)
        return [pad for i in reversed(range(axes)) for pad in (padding[i], padding[axes + i])]

    def lower(self, start: torch.Tensor, tolerance: float) -> float:
        """A proven lower end of the norm, by Lanczos steps until less than `tolerance` is gained."""
        x, quotient = start, 0.0
        basis, images = [], []
        for _ in range(STEPS):
            x = x / torch.linalg.vector_norm(x)
            basis.append(x.flatten())
            y = self.apply(x)
            images.append(y.flatten())
            projected = torch.stack(images)
            values, vectors = torch.linalg.eigh(projected @ projected.T)
            before, quotient = quotient, math.sqrt(max(0.0, float(values[-1])))
            if len(basis) >= FEWEST and quotient <= before * (1 + tolerance):
                break
            x = self.adjoint(y).flatten()
            known, before_reduction = torch.stack(basis), float(torch.linalg.vector_norm(x))
            for _ in range(2):
                x = x - known.T @ (known @ x)
            if float(torch.linalg.vector_norm(x)) <= EXHAUSTED * before_reduction:
                break
            x = x.view(start.shape)
        return self._quotient((vectors[:, -1] @ torch.stack(basis)).view(start.shape))

    def _quotient(self, x: torch.Tensor) -> float:
        """`|A x| / |x|` less its rounding."""
        y = self.apply(x)
        norm = float(torch.linalg.vector_norm(x))
        terms = self.weight[0].numel() + 4
        absolute = float(torch.linalg.vector_norm(self.weight.flatten(2), dim=(0, 1)).sum())
        sums = gamma(y.numel() + x.numel() + 16)
        return max(
            0.0, float(torch.linalg.vector_norm(y)) / norm * (1 - sums) - 1.001 * gamma(terms) * absolute
        )
