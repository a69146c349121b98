"""Spatial sizes and paddings of convolution nodes."""

from __future__ import annotations

from convsv_cli.loaders.onnx.node import Site

UNKNOWN = "padding {}, whose amount depends on the unknown input size"


def spatial_size(site: Site, axes: int) -> tuple[int, ...] | None:
    """The spatial size of the data input; None where some of it is unknown."""
    dims = site.dims(0)
    if dims is None or len(dims) != axes + 2:
        return None
    sizes = tuple(size for size in dims[2:] if isinstance(size, int))
    return sizes if len(sizes) == axes else None


def padding(
    site: Site, kernel: tuple[int, ...], size: tuple[int, ...] | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The padding, all beginnings then all ends, and what had to be assumed for it.

    SAME_UPPER and SAME_LOWER, and the output shape of a ConvTranspose, say how long the output is; an odd
    element goes to the end with SAME_UPPER, else to the beginning.
    """
    axes = len(kernel)
    mode = site.attribute("auto_pad", "NOTSET")
    asked = site.attribute("output_shape", ())[-axes:] if site.node.op_type == "ConvTranspose" else ()
    if mode == "NOTSET" and not asked:
        return site.attribute("pads", (0,) * 2 * axes), ()
    if not mode.startswith("SAME") and not asked:
        return (0,) * 2 * axes, ()
    if size is None:
        return (), (UNKNOWN.format(mode),)
    totals = (
        _transposed_totals(site, kernel, size, asked) if _is_transposed(site) else _totals(site, kernel, size)
    )
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (*smaller, *larger) if mode == "SAME_UPPER" else (*larger, *smaller), ()


def _is_transposed(site: Site) -> bool:
    return site.node.op_type == "ConvTranspose"


def _totals(site: Site, kernel: tuple[int, ...], size: tuple[int, ...]) -> list[int]:
    """So that the output is ceil(input / stride) long."""
    ones = (1,) * len(kernel)
    strides, dilations = site.attribute("strides", ones), site.attribute("dilations", ones)
    return [
        max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]


def _transposed_totals(
    site: Site, kernel: tuple[int, ...], size: tuple[int, ...], asked: tuple[int, ...]
) -> list[int]:
    """So that the output is as long as asked, or else input times stride."""
    ones = (1,) * len(kernel)
    strides, dilations = site.attribute("strides", ones), site.attribute("dilations", ones)
    extra = site.attribute("output_padding", (0,) * len(kernel))
    outputs = asked or tuple(n * s for n, s in zip(size, strides, strict=True))
    return [
        max(s * (n - 1) + more + d * (k - 1) + 1 - out, 0)
        for n, k, s, d, more, out in zip(size, kernel, strides, dilations, extra, outputs, strict=True)
    ]
