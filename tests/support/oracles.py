"""Dense matrices of layers, by index loops in plain NumPy: the truth that the package is held against.

Written from the definitions alone. Nothing here imports convsv_cli, torch or an FFT.

A layer's weight is [c_out, c_in / groups, *k]. A transposed layer is the adjoint of the convolution with
the same weights, whose output channels are therefore the transposed layer's inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

Array = np.ndarray
Size = tuple[int, ...]


def circular_matrix(weight: Array, n: Size, *, stride: Size, dilation: Size, groups: int) -> Array:
    """The convolution with circular padding as a matrix [c_out * outputs, c_in * prod(n)].

    `y[o, p] = sum_{i, t} weight[o, i, t] x[i, (stride p + dilation t) mod n]` for every multiple of the
    stride below n. Taps that wrap around to one place add up.
    """
    outputs = tuple(math.ceil(size / s) for size, s in zip(n, stride, strict=True))

    def source(p: Size, t: Size) -> Size:
        places = zip(p, t, stride, dilation, n, strict=True)
        return tuple((s * i + d * j) % size for i, j, s, d, size in places)

    return _matrix(weight, n, outputs, source, groups)


def zero_padded_matrix(
    weight: Array, n: Size, *, stride: Size, dilation: Size, groups: int, begin: Size, end: Size
) -> Array:
    """The convolution with so many zeros before and after each axis, [c_out * outputs, c_in * prod(n)].

    There has to be room for the kernel: n + begin + end > dilation (k - 1).
    """
    room = zip(n, begin, end, dilation, weight.shape[2:], stride, strict=True)
    outputs = tuple((size + b + e - d * (k - 1) - 1) // s + 1 for size, b, e, d, k, s in room)

    def source(p: Size, t: Size) -> Size:
        return tuple(s * i + d * j - b for i, j, s, d, b in zip(p, t, stride, dilation, begin, strict=True))

    return _matrix(weight, n, outputs, source, groups)


def unfoldings(
    weight: Array, *, stride: Size, dilation: Size, groups: int, transposed: bool
) -> dict[frozenset[int], list[Array]]:
    """Every unfolding of the reduced kernel, by the spatial axes that go to the rows; one matrix a group.

    Without stride and dilation, {0} gives the R and {1} the S of Singla & Feizi's equation (1), {} gives T
    and {0, 1} gives U.
    """
    blocks = [
        reduced_kernel(block, stride=stride, dilation=dilation, transposed=transposed)
        for block in np.split(weight, groups)
    ]
    axes = range(weight.ndim - 2)
    subsets = [frozenset(a for a in axes if bits >> a & 1) for bits in range(2 ** len(axes))]
    return {rows: [unfolding(block, rows) for block in blocks] for rows in subsets}


def unfolding(kernel: Array, rows: frozenset[int]) -> Array:
    """[c_out * prod(k[rows]), c_in * prod(k[others])]: block (c, d) has the taps of kernel[c, d].

    For images and rows {0}, block (c, d) is the matrix kernel[c, d, :, :] itself; for rows {1}, its
    transpose.
    """
    c_out, c_in, *k = kernel.shape
    row_axes = [axis for axis in range(len(k)) if axis in rows]
    column_axes = [axis for axis in range(len(k)) if axis not in rows]
    height = math.prod(k[axis] for axis in row_axes)
    width = math.prod(k[axis] for axis in column_axes)
    matrix = np.zeros((c_out * height, c_in * width))
    for c, d, t in product(range(c_out), range(c_in), _indices(k)):
        row = c * height + _flat([t[axis] for axis in row_axes], [k[axis] for axis in row_axes])
        column = d * width + _flat([t[axis] for axis in column_axes], [k[axis] for axis in column_axes])
        matrix[row, column] = kernel[(c, d, *t)]
    return matrix


def reduced_kernel(block: Array, *, stride: Size, dilation: Size, transposed: bool) -> Array:
    """One group's kernel on the coarse lattice; each residue of a tap modulo the stride is an input channel.

    Where stride and dilation have the factor g in common, the taps only reach residues that are multiples
    of g, so that stride / g residues are left. Those without a tap may be left out or stay as zeros: no
    norm notices. A transposed layer swaps the roles of input and output channels.
    """
    c_out, c_in, *k = block.shape
    phases = [s // math.gcd(s, d) for s, d in zip(stride, dilation, strict=True)]
    taps = [math.ceil(size / count) for size, count in zip(k, phases, strict=True)]
    reduced = np.zeros((c_out, c_in * math.prod(phases), *taps))
    for i, residue, m in product(range(c_in), _indices(phases), _indices(taps)):
        t = [r + count * j for r, count, j in zip(residue, phases, m, strict=True)]
        if all(j < size for j, size in zip(t, k, strict=True)):
            channel = i * math.prod(phases) + _flat(residue, phases)
            reduced[(slice(None), channel, *m)] = block[(slice(None), i, *t)]
    return np.swapaxes(reduced, 0, 1) if transposed else reduced


def padded_fine_size(
    k: Size, n: Size, *, stride: Size, dilation: Size, transposed: bool, begin: Size, end: Size
) -> Size | None:
    """Size on the side of a padded layer that the stride does not make smaller; None where nothing is left.

    A transposed layer makes s (n - 1) + d (k - 1) + 1 - b - e outputs of n inputs.
    """
    reach = [d * (taps - 1) + 1 for d, taps in zip(dilation, k, strict=True)]
    pads = [b + e for b, e in zip(begin, end, strict=True)]
    if transposed:
        fine = [s * (m - 1) + r - p for s, m, r, p in zip(stride, n, reach, pads, strict=True)]
        return tuple(fine) if min(fine, default=1) >= 1 else None
    fits = all(m + p >= r for m, p, r in zip(n, pads, reach, strict=True))
    return tuple(n) if fits else None


def supremum(kernel: Array) -> float:
    """The largest singular value of the symbol over all frequencies: a fine grid, then a pattern search."""
    return _extreme(lambda theta: largest_values(kernel, theta), kernel.shape[2:])


def infimum(kernel: Array) -> float:
    """The smallest of the min(c_out, c_in) singular values over all frequencies, found likewise."""
    return -_extreme(lambda theta: -singular_values_at(kernel, theta)[:, -1], kernel.shape[2:])


def _extreme(function: Callable[[Array], Array], k: Size) -> float:
    grids = [np.arange(1 if size == 1 else 8 * size) / (8 * size) for size in k]
    theta = 2 * math.pi * _rows(product(*grids), len(k))
    values = function(theta)
    return max(_climbed(function, theta[i], values[i]) for i in np.argsort(-values)[:6])


def _climbed(function: Callable[[Array], Array], theta: Array, value: float) -> float:
    """Uphill by steps to all neighbours, which become shorter where none is higher."""
    steps = _rows(product((-1, 0, 1), repeat=len(theta)), len(theta))
    step = 0.3
    while step > 1e-5 and len(theta):
        around = theta + step * steps
        values = function(around)
        if values.max() > value + 1e-15 * abs(value):
            theta, value = around[values.argmax()], values.max()
        else:
            step /= 3
    return float(value)


def largest_values(kernel: Array, theta: Array) -> Array:
    """The largest singular values of the symbols at frequencies [n, axes]."""
    return singular_values_at(kernel, theta)[:, 0]


def singular_values_at(kernel: Array, theta: Array) -> Array:
    """The singular values of the symbols at frequencies [n, axes]: [n, min(c_out, c_in)], descending."""
    taps = _rows(_indices(kernel.shape[2:]), theta.shape[1])
    flat = kernel.reshape(*kernel.shape[:2], -1)
    symbols = np.einsum("oit,nt->noi", flat, np.exp(-1j * (theta @ taps.T)))
    return np.linalg.svd(symbols, compute_uv=False)


def grid_norm(kernel: Array, grid: Size) -> float:
    """The largest singular value of the symbols at frequencies 2 pi j / grid."""
    places = _rows(_indices(grid), len(grid))
    return float(largest_values(kernel, 2 * math.pi * places / np.array(grid)).max())


def _rows(points: Iterator[tuple[float, ...]], width: int) -> Array:
    """An array [n, width], also where the width is zero."""
    rows = list(points)
    return np.array(rows, dtype=float).reshape(len(rows), width)


def taps_meet(k: Size, n: Size, *, dilation: Size) -> bool:
    """Whether two taps of one kernel reach the same place of a circular input of size n."""
    return any(
        len({d * t % size for t in range(taps)}) < taps for taps, size, d in zip(k, n, dilation, strict=True)
    )


def singular_values(matrix: Array) -> Array:
    """Descending."""
    return np.linalg.svd(matrix, compute_uv=False)


def spectral_norm(matrix: Array) -> float:
    """The largest singular value; 0 for a matrix without entries."""
    return float(singular_values(matrix)[0]) if matrix.size else 0.0


def symbol(kernel: Array, theta: tuple[float, ...]) -> Array:
    """`sum_t kernel[:, :, t] exp(-i <t, theta>)`, complex [c_out, c_in], for kernel [c_out, c_in, *k]."""
    total = np.zeros(kernel.shape[:2], dtype=complex)
    for t in _indices(kernel.shape[2:]):
        phase = sum(i * angle for i, angle in zip(t, theta, strict=True))
        total += kernel[(slice(None), slice(None), *t)] * complex(math.cos(phase), -math.sin(phase))
    return total


def _matrix(weight: Array, n: Size, outputs: Size, source, groups: int) -> Array:
    """Lay the weight of every (output place, tap) down at the input place that `source` names, if any."""
    c_out, c_in = weight.shape[0], weight.shape[1] * groups
    matrix = np.zeros((c_out, math.prod(outputs), c_in, math.prod(n)))
    for p, t in product(_indices(outputs), _indices(weight.shape[2:])):
        place = source(p, t)
        if all(0 <= i < size for i, size in zip(place, n, strict=True)):
            row, column = _flat(p, outputs), _flat(place, n)
            for group in range(groups):
                out = slice(group * c_out // groups, (group + 1) * c_out // groups)
                into = slice(group * c_in // groups, (group + 1) * c_in // groups)
                matrix[out, row, into, column] += weight[(out, slice(None), *t)]
    return matrix.reshape(c_out * math.prod(outputs), c_in * math.prod(n))


def _indices(shape) -> Iterator[Size]:
    return product(*(range(size) for size in shape))


def _flat(index, shape) -> int:
    """Position in row-major order."""
    position = 0
    for i, size in zip(index, shape, strict=True):
        position = position * size + i
    return position
