"""Values of options, from the text that users write."""

from __future__ import annotations

import math
import re

import click

from convsv_cli import arguments
from convsv_cli.errors import UsageError


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
        raise click.BadParameter(f"invalid share {value!r}: use 5% or 0.05, not less than 0", ctx, param)
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


def radii(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Each 0.5 or 36/255, as it was written."""
    try:
        for value in values:
            arguments.radius(value)
    except UsageError as error:
        raise click.BadParameter(error.what, ctx, param) from error
    return values


def per_channel(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...]:
    """0.5 or 0.229,0.224,0.225."""
    if value is None:
        return ()
    try:
        return tuple(map(float, value.split(",")))
    except ValueError as error:
        what = f"invalid numbers {value!r}: use one, such as 0.5, or one per channel: 0.229,0.224,0.225"
        raise click.BadParameter(what, ctx, param) from error


def _dimensions(text: str) -> tuple[int, ...] | None:
    if not re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", text):
        return None
    sizes = tuple(map(int, text.split("x")))
    return sizes if min(sizes) > 0 else None
