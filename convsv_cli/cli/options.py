"""What commands can be asked for: the options that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from convsv_cli import allowance, deadline, limits
from convsv_cli.cli.helping import (
    AUDITED,
    FIGURES,
    LIMITS,
    NETWORK,
    OUTPUT,
    SAMPLES,
    Decorator,
    option,
)
from convsv_cli.cli.output import colour_asked_for
from convsv_cli.cli.values import duration, input_range, input_shapes, input_size, memory, per_channel
from convsv_cli.digits import short
from convsv_cli.renderers import RENDERERS
from convsv_cli.renderers.renderer import Renderer
from convsv_cli.report import EFFORTS, NORMAL, TOLERANCE, WORK_LIMIT, Settings

T = TypeVar("T")
DEFAULTS = Settings(device="auto")


def settings(asked: Mapping[str, Any]) -> Settings:
    """What the options of a command ask for.

    Args:
        asked: values of options that are called like fields of `Settings`; None for one that was not given.
    """
    return replace(DEFAULTS, **{name: value for name, value in asked.items() if value is not None})


def no_color(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001, FBT001
    """Colours are off for the command and what it calls; otherwise the environment decides."""
    ctx.color = False if value else (colour_asked_for() if ctx.color is None else ctx.color)


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


def globs(name: str, about: str, section: str = AUDITED) -> Decorator:
    """An option that names layers, and may be given several times."""
    return option(name, section=section, metavar="GLOB", multiple=True, help=f"{about} Repeatable.")


LAYERS = globs("--layers", "Audit only matching layers.")
MODELS = click.argument(
    "models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True)
)
EXACT = option(
    "--exact", section=FIGURES, is_flag=True, help="Also compute exact norms at each layer's input size."
)
SPREAD = option(
    "--spread",
    section=FIGURES,
    is_flag=True,
    help="Also compute |W|_F, and of matrices the stable rank and the smallest singular value.",
)
ATTENTION = option(
    "--attention",
    section=FIGURES,
    metavar="auto|H|H:K",
    help="Also compute the norms of Q·Kᵀ and V·O of each attention head: of H, with K of keys and values, or"
    " as many as config.json beside the model says.",
)
INPUT_SIZE = option(
    "--input-size",
    section=AUDITED,
    metavar="N|HxW",
    callback=input_size,
    help="Spatial size of the network's input.",
)
INPUT_SHAPE = option(
    "--input-shape",
    "input_shapes",
    section=AUDITED,
    metavar="NAME:AxBxC",
    multiple=True,
    callback=input_shapes,
    help="Full shape of a named ONNX input. Repeatable.",
)
INPUT_RANGE = option(
    "--input-range",
    section=NETWORK,
    metavar="LO,HI",
    callback=input_range,
    help="Range of the network's inputs; with it, products of activations have a bound.",
)
INPUT_MEAN = option(
    "--input-mean",
    section=SAMPLES,
    metavar="M[,M...]",
    callback=per_channel,
    help="Mean that is subtracted before the network: one number, or one per channel.",
)
INPUT_STD = option(
    "--input-std",
    section=SAMPLES,
    metavar="S[,S...]",
    callback=per_channel,
    help="Standard deviation to divide by.",
)
NORMALIZED = option("--normalized", section=SAMPLES, is_flag=True, help="The data are already normalized.")
FROM = option(
    "--from",
    "sources",
    section=NETWORK,
    metavar="TENSOR",
    multiple=True,
    help="Bound the network from this tensor, with all else held fixed: an input, or any tensor of the graph,"
    " such as --from embeddings. Repeatable.  [default: all inputs]",
)
TO = option(
    "--to",
    "targets",
    section=NETWORK,
    metavar="TENSOR",
    multiple=True,
    help="Bound the network up to this tensor only, such as --to logits. Repeatable.  [default: all outputs]",
)
AS_LAYER = globs(
    "--as-layer", "Audit matching weights as layers, where they look like tables or like nothing known."
)
AS_TABLE = globs("--as-table", "Treat matching weights as lookup tables, where the file leaves it open.")
AS_STRIDE_1 = option(
    "--as-stride-1", section=AUDITED, is_flag=True, help="Ignore strides, as the paper's tables do."
)
DEVICE = option(
    "--device",
    section=FIGURES,
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="Where to compute.  [default: auto]",
)
TOLERANCE_ = option(
    "--tolerance",
    section=FIGURES,
    metavar="WIDTH",
    type=float,
    help=f"Relative width at which a certified interval is narrow enough.  [default: {short(TOLERANCE)}]",
)
WORK_LIMIT_ = option(
    "--work-limit",
    section=LIMITS,
    metavar="N",
    type=float,
    help="Multiplications after which the search for a norm stops, with the interval proven by then."
    f"  [default: {short(WORK_LIMIT)}]",
)
MEMORY_LIMIT = option(
    limits.MEMORY_OPTION,
    section=LIMITS,
    metavar="SIZE",
    callback=memory,
    help="Memory that one step may take for what a file claims, such as 8G; counts of objects that files may"
    " have grow with it.  [default: 512M and 64 times the size of the files; 4G, or half of what is free, at"
    " most]",
)
STEP_LIMIT = option(
    limits.STEP_OPTION,
    section=LIMITS,
    metavar="N",
    type=click.FloatRange(min=0),
    help="Elements that may be touched to read a file and bound its network."
    f"  [default: {short(allowance.STEPS)}, and {short(allowance.STEPS_PER_BYTE)} per byte of the files]",
)
TIME_LIMIT = option(
    deadline.TIME_OPTION,
    section=LIMITS,
    metavar="DURATION",
    callback=duration,
    help="End the searches after 90s, 10m or 1h30m, with wider figures, all of them proven; these depend on"
    " the machine.  [default: none]",
)
NETWORK_EFFORT = option(
    "--network-effort",
    section=NETWORK,
    metavar="EFFORT",
    type=click.Choice(EFFORTS),
    help="How hard to look for a small bound of the network. quick: no search; normal: about as long as the"
    " rest takes, 3 s at least; thorough: until nothing is gained (minutes). A file has one figure per"
    f" effort, on any machine.  [default: {NORMAL}]",
)
GRAPH = option(
    "--graph",
    section=AUDITED,
    type=click.Path(path_type=Path),
    metavar="MODEL.onnx",
    help="The graph of a checkpoint, whose weights replace those of the same name.",
)
BASE = option(
    "--base",
    section=AUDITED,
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="The model that an adapter was trained on: also show each update's share of the weight's norm, and"
    " the norm of their sum.",
)
WITH = option(
    "--with",
    "stacked",
    section=AUDITED,
    type=click.Path(path_type=Path),
    metavar="ADAPTER",
    multiple=True,
    help="Another adapter that is active at the same time: what it adds is added up. Repeatable.",
)
EXPLAIN = option(
    "--explain", section=NETWORK, is_flag=True, help="Show where the bound of the network comes from."
)


def format_option(renderers: Iterable[Renderer[Any]]) -> Decorator:
    """`--format`, the name of one of these; other tools call it `--output-format`."""
    names = [renderer.name for renderer in renderers]
    return option(
        "-f",
        "--format",
        "--output-format",
        "format_name",
        section=OUTPUT,
        metavar="FORMAT",
        type=click.Choice(names),
        help=f"Format for stdout, and for files whose suffix does not imply one: {', '.join(names[:-1])} or"
        f" {names[-1]}.  [default: {names[0]}]",
    )


def output_option(about: str) -> Decorator:
    """`--output`, which may be given several times."""
    return option(
        "-o",
        "--output",
        "outputs",
        section=OUTPUT,
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        multiple=True,
        help=f"{about} Repeatable.",
    )


def verbose_option(about: str) -> Decorator:
    """`--verbose`, for documents that leave out what needs no attention."""
    return option("-v", "--verbose", section=OUTPUT, is_flag=True, help=f"{about} Files always do.")


FORMAT = format_option(RENDERERS)
OUTPUT_ = output_option("Write to a file, in the format that its suffix implies.")
QUIET = option("-q", "--quiet", section=OUTPUT, is_flag=True, help="No progress bar and no notes on stderr.")
NO_COLOR = option(
    "--no-color",
    section=OUTPUT,
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=no_color,
    help="No colours. NO_COLOR and CLICOLOR=0 in the environment turn them off too; FORCE_COLOR and"
    " CLICOLOR_FORCE=1 turn them on where there is no terminal.",
)
