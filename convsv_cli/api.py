"""The public functions; `convsv_cli` re-exports them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from convsv_cli.auditing import audit_network
from convsv_cli.errors import UsageError
from convsv_cli.kernels import reduce_kernel
from convsv_cli.loaders import load as load_network
from convsv_cli.network import Geometry, InputSize, Network
from convsv_cli.report import Audit, Interval, Settings
from convsv_cli.spectral.norms import grid_norm

Size = int | Sequence[int]


def audit(
    model: str | Path,
    *,
    exact: bool = False,
    input_size: Size | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    layers: Sequence[str] = (),
    as_stride_1: bool = False,
    device: str = "auto",
    progress: Callable[[str, float], None] | None = None,
) -> Audit:
    """Audit every layer with weights of a model file; nothing in the file is executed.

    Args:
        model: an ONNX graph, a PyTorch state dict or training checkpoint, or a safetensors file.
        exact: also compute the exact norm at each layer's input size (circular padding).
        input_size: spatial size of the network's input, for every axis or one entry an axis.
        input_shapes: full shapes of named ONNX inputs; they win over `input_size`.
        layers: globs; only layers of which some name matches one are audited.
        as_stride_1: treat strided layers as if their stride were 1, as the paper's tables do.
        device: "auto", "cpu" or "cuda".
        progress: called with the layer being worked on and the share of work done, 0 to 1.

    Raises:
        ConvsvError: the file cannot be read, or the request does not fit it.
    """
    settings = Settings(
        exact=exact,
        input_size=None if input_size is None else _sizes(input_size),
        input_shapes=tuple((name, tuple(shape)) for name, shape in (input_shapes or {}).items()),
        layers=tuple(layers),
        as_stride_1=as_stride_1,
        device=device,
    )
    network = load(model, input_size=input_size, input_shapes=input_shapes)
    return audit_network(network, settings, progress)


def load(
    model: str | Path,
    *,
    input_size: Size | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Network:
    """The layers of a model file with their geometry; weights are read on demand.

    Args and errors: as in `audit`.
    """
    return load_network(
        model,
        InputSize(
            size=None if input_size is None else _sizes(input_size),
            shapes=tuple((name, tuple(shape)) for name, shape in (input_shapes or {}).items()),
        ),
    )


def spectral_norm(
    kernel: torch.Tensor,
    *,
    input_size: Size,
    stride: Size = 1,
    dilation: Size = 1,
    groups: int = 1,
    transposed: bool = False,
) -> Interval:
    """The largest singular value of a convolution with circular padding, enclosed to about 1e-10.

    Args:
        kernel: real [c_out, c_in / groups, *k], or [c_in, c_out / groups, *k] where transposed; computed
            in float64 on the kernel's device. A matrix [c_out, c_in] has no spatial axes.
        input_size: spatial size of the input, which each stride must divide.
        stride, dilation, groups, transposed: as in torch.nn.

    Raises:
        UsageError: the sizes, the channels or the values make no convolution.
    """
    axes = kernel.ndim - 2
    size, strides = _per_axis(input_size, axes), _per_axis(stride, axes)
    geometry = Geometry(
        stride=strides, dilation=_per_axis(dilation, axes), groups=groups, transposed=transposed
    )
    if not transposed and any(n % s for n, s in zip(size, strides, strict=True)):
        raise UsageError(f"stride {strides} does not divide the circular input size {size}")
    if not kernel.numel() or not kernel.isfinite().all():
        raise UsageError("the kernel is empty, or holds NaN or infinity")
    try:
        reduced = reduce_kernel(kernel.detach(), geometry)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return grid_norm(reduced.weight, reduced.grid(size))


def _sizes(size: Size) -> tuple[int, ...]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    if not sizes or min(sizes) < 1:
        raise UsageError(f"sizes must be positive, not {size}")
    return sizes


def _per_axis(size: Size, axes: int) -> tuple[int, ...]:
    sizes = _sizes(size) * axes if isinstance(size, int) else _sizes(size)
    if len(sizes) != axes:
        raise UsageError(f"{sizes} does not fit a kernel with {axes} spatial axes")
    return sizes
