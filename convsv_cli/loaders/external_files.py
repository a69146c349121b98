"""Further files that a model names: only regular ones in its own folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from convsv_cli.errors import UnreadableModelError, UnsafeModelError


def locate(model: Path, location: str, what: str) -> Path:
    """The resolved file at `location`.

    A cache may link both the model and its data elsewhere, so the folder of the resolved model counts too.

    Args:
        model: the file that names it.
        location: as named there, relative to the model's folder.
        what: what wants it, for error messages.

    Raises:
        UnreadableModelError: there is no such file.
        UnsafeModelError: it lies outside the model's folder, or is no regular file.
    """
    path = model.parent / location
    if Path(location).is_absolute() or ".." in Path(location).parts or not location or "\0" in location:
        raise UnsafeModelError(
            f"{what} wants data from {location!r}, outside the model's folder", where=str(model)
        )
    if not os.path.exists(path):  # noqa: PTH110  (which takes a name that no file can have for a missing one)
        raise UnreadableModelError(
            f"the data file {location!r} is missing", where=str(model), hint="put it beside the model"
        )
    resolved = path.resolve()
    folders = {model.parent.resolve(), model.resolve().parent}
    if not any(resolved.is_relative_to(folder) for folder in folders):
        raise UnsafeModelError(
            f"the data file {location!r} lies outside the model's folder", where=str(model)
        )
    if not stat.S_ISREG(resolved.stat().st_mode):
        raise UnsafeModelError(f"the data file {location!r} is no regular file", where=str(model))
    return resolved
