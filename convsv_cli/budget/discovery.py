"""Where the budget is: the nearest file from a folder upwards."""

from __future__ import annotations

import os
from pathlib import Path

from convsv_cli.budget.reading import PYPROJECT, has_section

OWN = "convsv.toml"
BUDGETS = (OWN, PYPROJECT)
"""Names of files that may be one."""


def nearest_configuration(start: Path) -> Path | None:
    """`convsv.toml`, or `pyproject.toml` with a table `[tool.convsv]`, of a folder or the nearest above.

    Relative to the current folder; in one folder the former wins; None where there is none.

    Raises:
        ConfigurationError: a pyproject.toml on the way cannot be read.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        own, project = folder / OWN, folder / PYPROJECT
        if own.is_file():
            return Path(os.path.relpath(own))
        if project.is_file() and has_section(Path(os.path.relpath(project))):
            return Path(os.path.relpath(project))
    return None
