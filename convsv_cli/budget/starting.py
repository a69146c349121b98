"""A budget to begin with: what an audit has found, and a little room."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from decimal import ROUND_CEILING, Context, Decimal
from fnmatch import filter as matching

from convsv_cli.names import printable
from convsv_cli.renderers.numbers import figure
from convsv_cli.report import (
    BOUNDED,
    INVALID,
    NORMAL,
    UNSUPPORTED,
    UPPER,
    Audit,
    LayerAudit,
    NetworkBound,
    Quantised,
)

ROOM = Decimal("1.05")
DIGITS = 2
LARGEST = 3
"""Layers that are named as examples."""
SPECIAL = "*?["


def starting_budget(audit: Audit, model: str) -> str:
    """A `convsv.toml`, with comments, that this audit passes but for layers that could not be audited.

    Args:
        audit: of the model.
        model: its path, as the file is to say it.
    """
    blocks = (_head(audit, model), _network(audit), _layers(audit), _ignores(audit))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _head(audit: Audit, model: str) -> list[str]:
    settings = audit.settings
    lines = [
        f"# Budgets for `convsv check`, from an audit of {printable(model)} with convsv {audit.version}.",
        "# Each limit is what is proven now, with 5 % of room; tighten them to what you can defend.",
        f"models = [{quoted(model)}]",
    ]
    if settings.input_size:
        lines.append(f"input-size = {list(settings.input_size)}")
    if settings.input_shapes:
        shapes = ", ".join(f"{quoted(name)} = {list(shape)}" for name, shape in settings.input_shapes)
        lines.append(f"input-shape = {{ {shapes} }}")
    if settings.input_range:
        lines.append(f"input-range = [{settings.input_range[0]!r}, {settings.input_range[1]!r}]")
    if settings.network_effort != NORMAL:
        lines.append(f"network-effort = {quoted(settings.network_effort)}")
    lists = {
        "as-layer": settings.as_layer,
        "as-table": settings.as_table,
        "from": settings.sources,
        "to": settings.targets,
    }
    for key, globs in lists.items():
        if globs:
            lines.append(f"{key} = [{', '.join(map(quoted, globs))}]")
    return lines


def _network(audit: Audit) -> list[str]:
    bound = audit.bound
    about = "# The certified Lipschitz bound of the whole network"
    if bound.quantised and not bound.quantised.reason:
        return _quantised(bound.quantised)
    if bound.status != BOUNDED:
        return [f"{about}: it has none now (convsv audit says why).", "# max-lipschitz = 1e6"]
    if math.isinf(bound.lipschitz):
        return [f"{about}: it is beyond 1e308 now, which is no limit.", "# max-lipschitz = 1e6"]
    now = f"{about}: now {figure(bound.lipschitz, UPPER)}."
    limit = f"max-lipschitz = {_roomy(bound.lipschitz)}" if bound.lipschitz else "# max-lipschitz = 1e6"
    return [now, limit, *_pairs(bound)]


def _quantised(found: Quantised) -> list[str]:
    """Limits on both terms of what is proven of a network that rounds."""
    factor, added = figure(found.lipschitz, UPPER), figure(found.added, UPPER)
    limits = {"max-quantised-lipschitz": found.lipschitz, "max-quantised-step": found.added}
    return [
        f"# No Lipschitz bound, for the network rounds, but |f(x) - f(y)| <= {factor} |x - y| + {added}.",
        *(f"{key} = {_roomy(limit)}" if limit else f"# {key} = 1e6" for key, limit in limits.items()),
    ]


def _pairs(bound: NetworkBound) -> list[str]:
    """The largest pair as an example."""
    pairs = [pair for pair in bound.pairs if 0 < pair.lipschitz < math.inf]
    if not pairs:
        return []
    largest = max(pairs, key=lambda pair: pair.lipschitz)
    return [
        "",
        "# From one tensor to another, all else held fixed, which need be no input and no output:",
        "# [[pair]]",
        f"# from = {quoted(largest.start)}",
        f"# to = {quoted(largest.end)}",
        f"# max-lipschitz = {_roomy(largest.lipschitz)}",
    ]


def _layers(audit: Audit) -> list[str]:
    """The general limit; the largest layers as examples of their own."""
    norms = sorted(((upper, row.name) for row in audit.layers if (upper := _upper(row))), reverse=True)
    if not norms:
        return []
    largest, name = norms[0]
    lines = [
        f"# The certified norm of each layer: now at most {figure(largest, UPPER)} ({printable(name)}).",
        f"max-layer = {_roomy(largest)}",
        "",
        "# Layers with limits of their own: globs of names; the first that matches counts.",
    ]
    for upper, name in norms[:LARGEST]:
        lines += ["# [[layer]]", f"# match = {quoted(_glob(name))}", f"# max = {_roomy(upper)}"]
    return lines


def _ignores(audit: Audit) -> list[str]:
    """What was not audited, for users to say why that is fine; of what is no valid weight, it never is."""
    invalid = [row for row in audit.layers if row.status == INVALID]
    broken = [f"# {printable(row.name)}: {printable(row.reason)}. No ignore covers that." for row in invalid]
    rows = [row for row in audit.layers if row.status == UNSUPPORTED]
    if not rows:
        return broken
    lines = ["# Not audited, so `convsv check` exits with 3. If that is fine, say why:"]
    for row in rows:
        lines += [
            "# [[ignore]]",
            f"# match = {quoted(_glob(row.name))}",
            f"# reason = {quoted(printable(row.reason))}",
            "# expires = 2027-12-31  # the last day; without it, always",
        ]
    return lines + broken


def quoted(text: str) -> str:
    """A TOML string of one line; what TOML has no way to write is "?", which globs take for any character."""
    return "".join(_escaped(json.dumps(text, ensure_ascii=False)))


def _escaped(text: str) -> Iterator[str]:
    for character in text:
        if "\ud800" <= character <= "\udfff":
            yield "?"
        elif character.isprintable():
            yield character
        else:
            yield f"\\U{ord(character):08X}"


def _glob(name: str) -> str:
    """A glob that matches this name and hardly another, and is not blank."""
    special = SPECIAL if name.strip() else SPECIAL + name
    escaped = "".join(f"[{character}]" if character in special else character for character in name)
    return escaped if escaped == name or matching([name], escaped) else name


def _upper(row: LayerAudit) -> float:
    """The certified norm; 0 where it is that, or not known."""
    measured = row.measurement("certified")
    upper = measured.enclosure.upper if measured is not None and measured.enclosure is not None else 0.0
    return upper if math.isfinite(upper) else 0.0


def _roomy(upper: float) -> str:
    """A finite limit with some room, in two digits, as TOML writes numbers."""
    rounded = Context(prec=DIGITS, rounding=ROUND_CEILING).multiply(Decimal(upper), ROOM)
    return repr(min(float(rounded), sys.float_info.max))
