"""What commands can be asked for: the options that they share, and the methods that compute the figures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from convsv_cli import deadline, limits
from convsv_cli.calculators import CALCULATORS
from convsv_cli.cli.output import prepare, write
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.methods import RENDERERS as METHODS
from convsv_cli.renderers.renderer import Renderer
from convsv_cli.report import EFFORTS, NORMAL, TOLERANCE, WORK_LIMIT, Methods, Settings
from convsv_cli.version import __version__

T = TypeVar("T")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
DEFAULTS = Settings(device="auto")


def settings(asked: Mapping[str, Any]) -> Settings:
    """What the options of a command ask for.

    Args:
        asked: values of options that are called like fields of `Settings`; None for one that was not given.
    """
    return replace(DEFAULTS, **{name: value for name, value in asked.items() if value is not None})


def input_size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """224 is (224,), which is for every axis; 224x160 has one size per axis."""
    if value is None:
        return None
    sizes = _dimensions(value)
    if sizes is None:
        what = f"invalid size {value!r}: use 224 or 224x160, where each number is at least 1"
        raise click.BadParameter(what, ctx, param)
    return sizes


def input_shapes(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Each NAME:1x3x224x224 as the name of an input and its shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for value in values:
        name, _, shape = value.rpartition(":")
        sizes = _dimensions(shape)
        if not name or sizes is None:
            raise click.BadParameter(f"invalid shape {value!r}: use NAME:1x3x224x224", ctx, param)
        if name in shapes:
            raise click.BadParameter(f"the shape of {name!r} is given twice", ctx, param)
        shapes[name] = sizes
    return tuple(shapes.items())


def input_range(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """0,1 is (0.0, 1.0)."""
    if value is None:
        return None
    try:
        lower, upper = map(float, value.split(","))
    except ValueError:
        lower, upper = 1.0, 0.0
    if not -math.inf < lower <= upper < math.inf:
        raise click.BadParameter(f"invalid range {value!r}: use LO,HI, such as 0,1", ctx, param)
    return lower, upper


def share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """5% and 0.05 are 0.05."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)(%?)", value.replace(" ", ""))
    number = float(match.group(1)) / (100 if match.group(2) else 1) if match else math.nan
    if not math.isfinite(number):
        raise click.BadParameter(f"invalid share {value!r}: use 5% or 0.05", ctx, param)
    if number >= 1 and "%" not in value:
        raise click.BadParameter(f"invalid share {value!r}: did you mean {value}%?", ctx, param)
    return number


def memory(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """8G, 8GB and 8GiB are 8 times 2^30 bytes; K, M and T likewise; 4096 is in bytes."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([kmgt]?)(?:i?b)?", value.strip().lower())
    if match is None:
        raise click.BadParameter(f"invalid size {value!r}: use 8G or 512M", ctx, param)
    return float(match.group(1)) * 1024.0 ** " kmgt".index(match.group(2) or " ")


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds: 90 and 90s are 90, 10m is 600, 1h30m is 5400."""
    if value is None:
        return None
    number = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
    match = re.fullmatch(
        rf"(?:({number})h)?(?:({number})m)?(?:({number})s?)?", value.replace(" ", "").lower()
    )
    parts = [float(part or 0) for part in match.groups()] if match else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not seconds > 0:
        what = f"invalid duration {value!r}: use 90s, 10m or 1h30m, and more than 0"
        raise click.BadParameter(what, ctx, param)
    return seconds


def limited(command: Callable[..., T]) -> Callable[..., T]:
    """A command whose work on files is limited, and its options that raise the limits; one run."""

    @MEMORY_LIMIT
    @STEP_LIMIT
    @wraps(command)
    def within(
        *,
        memory_limit: float | None,
        step_limit: float | None,
        time_limit: float | None = None,
        **asked: Any,  # noqa: ANN401
    ) -> T:
        with limits.granting(memory_limit, step_limit), deadline.running(time_limit):
            return command(**asked)

    return within


def no_color(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001, FBT001
    """Colours are off for the command and what it calls."""
    if value:
        ctx.color = False


def _dimensions(text: str) -> tuple[int, ...] | None:
    if not re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", text):
        return None
    sizes = tuple(map(int, text.split("x")))
    return sizes if min(sizes) > 0 else None


def globs(name: str, about: str) -> Decorator:
    """An option that names layers, and may be given several times."""
    return click.option(name, metavar="GLOB", multiple=True, help=f"{about} Repeatable.")


MODELS = click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
EXACT = click.option("--exact", is_flag=True, help="Also compute exact norms at each layer's input size.")
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
INPUT_RANGE = click.option(
    "--input-range",
    metavar="LO,HI",
    callback=input_range,
    help="Range of the network's inputs; with it, products of activations have a bound.",
)
FROM = click.option(
    "--from",
    "sources",
    metavar="TENSOR",
    multiple=True,
    help="Bound the network from this tensor, with all else held fixed: an input, or any tensor of the graph,"
    " such as --from embeddings. Repeatable.  [default: all inputs]",
)
TO = click.option(
    "--to",
    "targets",
    metavar="TENSOR",
    multiple=True,
    help="Bound the network up to this tensor only, such as --to logits. Repeatable.  [default: all outputs]",
)
AS_LAYER = globs(
    "--as-layer", "Audit matching weights as layers, where they look like tables or like nothing known."
)
AS_TABLE = globs("--as-table", "Treat matching weights as lookup tables, where the file leaves it open.")
AS_STRIDE_1 = click.option("--as-stride-1", is_flag=True, help="Ignore strides, as the paper's tables do.")
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Where to compute.  [default: auto]",
)
TOLERANCE_ = click.option(
    "--tolerance",
    type=float,
    help=f"Relative width at which a certified interval is narrow enough.  [default: {TOLERANCE:g}]",
)
WORK_LIMIT_ = click.option(
    "--work-limit",
    type=float,
    help="Multiplications after which the search for a norm stops, with the interval proven by then."
    f"  [default: {WORK_LIMIT:g}]",
)
MEMORY_LIMIT = click.option(
    limits.MEMORY_OPTION,
    metavar="SIZE",
    callback=memory,
    help="Memory that one step may take for what a file claims, such as 8G; counts of objects that files may"
    " have grow with it.  [default: 512M and 64 times the size of the files; 4G, or half of what is free, at"
    " most]",
)
STEP_LIMIT = click.option(
    limits.STEP_OPTION,
    metavar="N",
    type=click.FloatRange(min=0),
    help="Elements that may be touched to read a file and bound its network."
    f"  [default: {limits.STEPS:g}, and {limits.STEPS_PER_BYTE:g} per byte of the files]",
)
TIME_LIMIT = click.option(
    deadline.TIME_OPTION,
    metavar="DURATION",
    callback=duration,
    help="End the searches after 90s, 10m or 1h30m, with wider figures, all of them proven; these depend on"
    " the machine.  [default: none]",
)
NETWORK_EFFORT = click.option(
    "--network-effort",
    type=click.Choice(EFFORTS),
    help="How hard to look for a small bound of the network. quick: no search; normal: about as long as the"
    " rest takes, 3 s at least; thorough: until nothing is gained (minutes). A file has one figure per"
    f" effort, on any machine.  [default: {NORMAL}]",
)
GRAPH = click.option(
    "--graph",
    type=click.Path(path_type=Path),
    metavar="MODEL.onnx",
    help="The graph of a checkpoint, whose weights replace those of the same name.",
)
EXPLAIN = click.option("--explain", is_flag=True, help="Show where the bound of the network comes from.")


def format_option(renderers: Iterable[Renderer[Any]]) -> Decorator:
    """`--format`, the name of one of these."""
    return click.option(
        "--format",
        "format_name",
        type=click.Choice([renderer.name for renderer in renderers]),
        help="Format for stdout, and for files whose suffix does not imply one.  [default: table]",
    )


def output_option(about: str) -> Decorator:
    """`--output`, which may be given several times."""
    return click.option(
        "-o",
        "--output",
        "outputs",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        multiple=True,
        help=f"{about} Repeatable.",
    )


FORMAT = format_option(RENDERERS)
OUTPUT = output_option("Write to a file, in the format that its suffix implies.")
QUIET = click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
NO_COLOR = click.option(
    "--no-color",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=no_color,
    help="No colours; so does NO_COLOR in the environment.",
)


@click.command()
@format_option(METHODS)
@OUTPUT
@NO_COLOR
def methods(*, format_name: str | None, outputs: tuple[Path, ...]) -> None:
    """List the calculators, what each figure proves, its cost and its reference.

    \b
    Examples:
      convsv methods
      convsv methods --format json
    """  # noqa: D301  (click takes \b for "keep these lines")
    found = Methods(version=__version__, methods=tuple(calculator.method for calculator in CALCULATORS))
    write(found, prepare(METHODS, outputs, format_name, []))
