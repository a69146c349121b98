"""Every plug-in is listed in the tuple of its folder, and knows no other."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from convsv_cli.budget.toml import loads
from convsv_cli.calculators import CALCULATORS
from convsv_cli.certification.routes import ROUTES
from convsv_cli.lipschitz.density import lowering, ranges
from convsv_cli.lipschitz.rules import FAMILIES
from convsv_cli.loaders import LOADERS, quantised
from convsv_cli.model import linear_maps
from convsv_cli.renderers import RENDERERS

FOLDERS = [
    ("convsv_cli.calculators", "CALCULATOR", CALCULATORS),
    ("convsv_cli.certification.routes", "ROUTE", ROUTES),
    ("convsv_cli.lipschitz.density.lowering", "ROWS", [family.ROWS for family in lowering.FAMILIES]),
    ("convsv_cli.lipschitz.density.ranges", "ROWS", [family.ROWS for family in ranges.FAMILIES]),
    ("convsv_cli.lipschitz.rules", "RULES", FAMILIES),
    ("convsv_cli.loaders", "LOADER", LOADERS),
    ("convsv_cli.loaders.quantised", "SCHEMES", [family.SCHEMES for family in quantised.FAMILIES]),
    ("convsv_cli.model.linear_maps", "RULES", linear_maps.FAMILIES),
    ("convsv_cli.renderers", "RENDERER", RENDERERS),
]
EACH = pytest.mark.parametrize(("folder", "export", "listed"), FOLDERS, ids=[name for name, *_ in FOLDERS])


def exporting(folder: str, export: str) -> dict[str, object]:
    """The plug-ins in a folder, by module."""
    names = [found.name for found in pkgutil.iter_modules(importlib.import_module(folder).__path__)]
    modules = {name: importlib.import_module(f"{folder}.{name}") for name in names}
    return {name: getattr(module, export) for name, module in modules.items() if hasattr(module, export)}


def unlisted(folder: str, export: str, listed: Sequence[object]) -> set[str]:
    """Modules whose plug-in nobody would meet."""
    found = exporting(folder, export)
    return {name for name, plug_in in found.items() if not any(plug_in is each for each in listed)}


@EACH
def test_every_plug_in_is_listed(folder: str, export: str, listed: Sequence[object]) -> None:
    assert unlisted(folder, export, listed) == set()


@EACH
def test_one_that_is_not_listed_would_be_seen(folder: str, export: str, listed: Sequence[object]) -> None:
    assert len(unlisted(folder, export, listed[1:])) == 1


@EACH
def test_import_linter_keeps_them_apart(
    folder: str, export: str, listed: Sequence[object], root: Path
) -> None:
    settings = loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    apart = [set(contract["modules"]) for contract in contracts if contract["type"] == "independence"]
    modules = {f"{folder}.{name}" for name in exporting(folder, export)}
    assert len(modules) >= len(listed)
    assert modules in apart
