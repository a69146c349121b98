"""The calculators: what each figure proves, its cost and its reference."""

from __future__ import annotations

import click

from convsv_cli.renderers import json
from convsv_cli.renderers.renderer import Renderer, Terminal
from convsv_cli.report import Methods


def _table(found: Methods, terminal: Terminal) -> str:
    """A paragraph per calculator."""
    lines = []
    for method in found.methods:
        name = click.style(method.name, bold=True) if terminal.color else method.name
        lines += [
            f"{name} ({method.kind})",
            f"  proves     {method.proves}",
            f"  cost       {method.cost}",
            f"  reference  {method.reference}",
        ]
    return "\n".join(lines) + "\n"


RENDERERS: tuple[Renderer[Methods], ...] = (
    Renderer(name="table", suffixes=(".txt",), render=_table),
    json.RENDERER,
)
