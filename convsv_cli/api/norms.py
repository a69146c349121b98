"""Norms of single layers."""

from __future__ import annotations

import math

import torch
from torch import nn

from convsv_cli import arguments
from convsv_cli.arguments import Size
from convsv_cli.errors import UsageError
from convsv_cli.loaders.convolution import torch_geometry
from convsv_cli.model.kernel import Kernel, reduce_kernel
from convsv_cli.model.layer import Geometry
from convsv_cli.report import TOLERANCE, Interval
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.spectral.norms import norms_of
from convsv_cli.spectral.zero_padding import zero_padded_norm


def spectral_norm(
    kernel: torch.Tensor | nn.Module,
    *,
    input_size: Size | None = None,
    padding: Size | None = None,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
    transposed: bool = False,
    output_padding: Size = 0,
    tolerance: float = TOLERANCE,
    work_limit: float = math.inf,
) -> Interval:
    """The spectral norm of a convolution, enclosed from both sides by proofs that count all rounding.

    * Without `input_size`: the supremum over all input sizes, circular or zero-padded, to `tolerance`.
    * With it: at that size, to about 1e-10 with circular padding (the norm of Sedghi et al., ICLR 2019, found
      without the other singular values), or, with `padding`, with that many zeros.

    Args:
        kernel: real [c_out, c_in / groups, *k], or [c_in, c_out / groups, *k] where transposed; computed
            in float64 on the kernel's device. A matrix [c_out, c_in] has no spatial axes. Or a convolution or
            linear layer of torch.nn, with the weight that it has by now, which says itself how it is applied:
            with an `input_size`, the norm is that with its own padding.
        input_size: spatial size of the input, which each stride must divide where the padding is circular.
        padding: zeros on both sides of each axis, or before each axis and then after each.
        stride, dilation, groups, transposed, output_padding: as in torch.nn.
        tolerance: relative width of a supremum that is good enough; positive.
        work_limit: multiplications after which a search stops with the wider enclosure that it has by then.

    Raises:
        UsageError: the sizes, the channels or the values make no convolution; the layer is none, or pads
            otherwise than with zeros or around.
    """
    if isinstance(kernel, nn.Module):
        if (padding, stride, dilation, groups, transposed, output_padding) != (None, 1, 1, 1, False, 0):
            raise UsageError("a layer says itself how it is applied", hint="leave its geometry out")
        kernel, geometry = _as_applied(kernel)
    else:
        axes = kernel.ndim - 2
        geometry = Geometry(
            stride=arguments.per_axis(stride, axes),
            dilation=arguments.per_axis(dilation, axes),
            groups=groups,
            transposed=transposed,
            padding=() if padding is None else arguments.pads(padding, axes),
            output_padding=arguments.output_padding(output_padding, axes, transposed=transposed),
        )
    if kernel.is_complex():
        raise UsageError("the kernel is complex", hint="give a real one: what is imaginary would be lost")
    if not kernel.numel() or (kernel.is_floating_point() and not all(map(torch.isfinite, _ends(kernel)))):
        raise UsageError("the kernel is empty, or holds NaN or infinity")
    try:
        reduced = reduce_kernel(kernel.detach(), geometry)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with one_thread_each():
        return _norm(reduced, input_size, arguments.tolerance(tolerance), arguments.work_limit(work_limit))


def _ends(kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the largest entry, or NaN: a tenth of the time of asking each whether it is finite."""
    least, most = (kernel.float() if kernel.element_size() == 1 else kernel).aminmax()
    return least, most


def _as_applied(layer: nn.Module) -> tuple[torch.Tensor, Geometry]:
    """Its weight, and how it is applied: with its own padding, where that is of zeros."""
    from convsv_cli.torch_modules.modules import check_padding, geometry_of, weight_of

    weight, geometry = weight_of(layer), geometry_of(layer)
    check_padding(layer, geometry)
    if not geometry.stride or layer.padding_mode == "circular":
        return weight, geometry
    return weight, torch_geometry(vars(layer), tuple(weight.shape), module=True) or geometry


def _norm(kernel: Kernel, input_size: Size | None, tolerance: float, limit: float) -> Interval:
    if input_size is None:
        return norms_of(kernel).supremum(tolerance=tolerance, limit=limit)
    size = arguments.per_axis(input_size, len(kernel.spatial))
    if kernel.geometry.padding:
        return zero_padded_norm(kernel, size, tolerance=tolerance, limit=limit)
    if size != kernel.circular_size(size):
        raise UsageError(f"stride {kernel.geometry.stride} does not divide the circular input size {size}")
    return norms_of(kernel).on_grid(kernel.grid(size), limit=limit)
