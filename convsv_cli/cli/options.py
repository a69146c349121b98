"""Options that commands share, and their values: sizes and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Renderer
from convsv_cli.report import TOLERANCE, WORK_LIMIT

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


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


def share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """5% and 0.05 are 0.05."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)(%?)", value.replace(" ", ""))
    number = float(match.group(1)) / (100 if match.group(2) else 1) if match else math.nan
    if not math.isfinite(number):
        raise click.BadParameter(f"{value!r} is no share: write 5% or 0.05", ctx, param)
    if number >= 1 and "%" not in value:
        raise click.BadParameter(f"{value!r} is no share below 1: do you mean {value}%?", ctx, param)
    return number


def no_color(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001, FBT001
    """Colours are off for the command and what it calls."""
    if value:
        ctx.color = False


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
AS_LAYER = click.option(
    "--as-layer",
    metavar="GLOB",
    multiple=True,
    help="Audit weights of that name that would be taken for tables, or for nothing known. Repeatable.",
)
AS_TABLE = click.option(
    "--as-table",
    metavar="GLOB",
    multiple=True,
    help="Take weights of that name for tables of look-ups, where the file does not say. Repeatable.",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Where to compute.  [default: auto]",
)
MODELS = click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
EXACT = click.option("--exact", is_flag=True, help="Also compute exact norms at each layer's input size.")
TOLERANCE_ = click.option(
    "--tolerance",
    type=float,
    help=f"Relative width of a certified interval that is good enough.  [default: {TOLERANCE:g}]",
)
WORK_LIMIT_ = click.option(
    "--work-limit",
    type=float,
    help="Multiplications after which the search for a norm stops with the interval it has."
    f"  [default: {WORK_LIMIT:g}]",
)
INPUT_RANGE = click.option(
    "--input-range",
    metavar="LO,HI",
    callback=input_range,
    help="What the network's inputs are in: makes products of activations finite.",
)
GRAPH = click.option(
    "--graph",
    type=click.Path(path_type=Path),
    metavar="MODEL.onnx",
    help="The graph of a checkpoint, whose weights replace those of the same name.",
)


def format_option(renderers: Iterable[Renderer[Any]]) -> Decorator:
    """`--format`, the name of one of these."""
    return click.option(
        "--format",
        "format_name",
        type=click.Choice([renderer.name for renderer in renderers]),
        help="Format of what goes to stdout, or to files without a telling suffix.  [default: table]",
    )


FORMAT = format_option(RENDERERS)
OUTPUT = click.option(
    "-o",
    "--output",
    "outputs",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="Write to a file, in the format that its suffix tells. Repeatable.",
)
QUIET = click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
NO_COLOR = click.option(
    "--no-color",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=no_color,
    help="No colours; NO_COLOR in the environment does the same.",
)
