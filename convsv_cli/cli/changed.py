"""`convsv check --changed`: which models a commit concerns, by the files that it changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from convsv_cli.budget import BUDGETS
from convsv_cli.cli.pipes import complain
from convsv_cli.loaders import recognised
from convsv_cli.loaders.owners import owners


def concerned(
    files: Sequence[Path], models: Sequence[Path], shared: Iterable[Path | None]
) -> tuple[Path, ...]:
    """The models to check, each once; a line on stderr for each file that concerns none.

    Args:
        files: that have changed.
        models: that the budget names.
        shared: what decides about all of these: the budget itself, a baseline, a graph.
    """
    common = [path for path in shared if path is not None and path.exists()]
    found = (model for file in files for model in _of(file, models, common))
    once: dict[Path, Path] = {}
    for model in found:
        once.setdefault(model.resolve(), model)
    return tuple(once.values())


def _of(file: Path, models: Sequence[Path], common: Sequence[Path]) -> Iterator[Path]:
    if file.exists() and any(file.samefile(path) for path in common):
        if not models:
            complain(f"{file}: the budget names no models to check")
        yield from models
    elif file.name in BUDGETS:
        complain(f"{file}: not the budget in use, left out")
    elif not file.is_file():
        yield file
    elif owning := owners(file, models):
        yield from owning
    elif recognised(file):
        yield file
    else:
        complain(f"{file}: neither a model nor a part of one beside it, left out")
