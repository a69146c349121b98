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

    SAME_UPPER and SAME_LOWER make the output ceil(input / stride) long; the odd element goes to the end
    or to the beginning.
    """
    axes = len(kernel)
    mode = site.attribute("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return site.attribute("pads", (0,) * 2 * axes), ()
    if not mode.startswith("SAME") or site.node.op_type == "ConvTranspose":
        return (0,) * 2 * axes, ()
    if size is None:
        return (0,) * 2 * axes, (UNKNOWN.format(mode),)
    ones = (1,) * axes
    strides, dilations = site.attribute("strides", ones), site.attribute("dilations", ones)
    totals = [
        max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]
    smaller, larger = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (*smaller, *larger) if mode == "SAME_UPPER" else (*larger, *smaller), ()
