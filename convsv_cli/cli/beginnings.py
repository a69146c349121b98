"""`convsv check --init`: a budget to begin with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from convsv_cli.budget import starting_budget
from convsv_cli.cli.files import blaming, check_replaceable, is_file, replacement
from convsv_cli.cli.output import echo
from convsv_cli.errors import UsageError
from convsv_cli.report import Audit


def check_beginning(
    models: Sequence[Path], outputs: Sequence[Path], *, force: bool, others: Sequence[object]
) -> None:
    """Complain before any work is done.

    Raises:
        UsageError: not one model; several files, or one that is there, without `force`; other options that
            make no sense beside `--init`.
    """
    if len(models) != 1:
        raise UsageError("--init wants one MODEL")
    if any(other is not None for other in others):
        raise UsageError("--init goes with none of --config, --baseline and --format")
    if len(outputs) > 1:
        raise UsageError("--init writes one file")
    for path in filter(is_file, outputs):
        check_replaceable(path, models)
        if path.exists() and not force:
            raise UsageError("it is there already", where=str(path), hint="--force replaces it")


def begin(audit: Audit, model: Path, outputs: Sequence[Path]) -> None:
    """Write the budget, in which the model's path is relative to the file's folder.

    Raises:
        UsageError: the file cannot be written.
    """
    if not any(map(is_file, outputs)):
        echo(starting_budget(audit, model.as_posix()))
        return
    (path,) = outputs
    relative = Path(os.path.relpath(model.absolute(), path.absolute().parent)).as_posix()
    with replacement(path) as file, blaming(path):
        file.write(starting_budget(audit, relative).encode())
