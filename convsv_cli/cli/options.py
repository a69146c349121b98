"""Options that commands share, and their values: sizes and shapes."""

from __future__ import annotations

import math
import re

import click


def input_size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """224 is (224,), every axis alike; 224x160 has one entry an axis."""
    if value is None:
        return None
    sizes = _dimensions(value)
    if sizes is None:
        raise click.BadParameter(f"{value!r} is no size: write 224 or 224x160, each at least 1", ctx, param)
    return sizes


def input_shapes(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    """Each NAME:1x3x224x224 as the name of an input and its shape."""
    shapes = {}
    for value in values:
        name, _, shape = value.rpartition(":")
        sizes = _dimensions(shape)
        if not name or sizes is None:
            raise click.BadParameter(f"{value!r} is no shape: write NAME:1x3x224x224", ctx, param)
        if name in shapes:
            raise click.BadParameter(f"the shape of {name!r} is given twice", ctx, param)
        shapes[name] = sizes
    return shapes


def input_range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """0,1 is (0.0, 1.0)."""
    if value is None:
        return None
    try:
        lower, upper = map(float, value.split(","))
    except ValueError:
        lower, upper = 1.0, 0.0
    if not -math.inf < lower <= upper < math.inf:
        raise click.BadParameter(f"{value!r} is no range: write LO,HI, such as 0,1", ctx, param)
    return lower, upper


def _dimensions(text: str) -> tuple[int, ...] | None:
    if not re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", text):
        return None
    sizes = tuple(map(int, text.split("x")))
    return sizes if min(sizes) > 0 else None


INPUT_SIZE = click.option(
    "--input-size", metavar="N|HxW", callback=input_size, help="Spatial size of the network's input."
)
INPUT_SHAPE = click.option(
    "--input-shape",
    "input_shapes",
    metavar="NAME:AxBxC",
    multiple=True,
    callback=input_shapes,
    help="Full shape of a named ONNX input. Repeatable.",
)
AS_STRIDE_1 = click.option("--as-stride-1", is_flag=True, help="Ignore strides, as the paper's tables do.")
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    show_default=True,
    help="Where to compute.",
)
