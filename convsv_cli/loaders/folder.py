"""The model in a folder, where there is one obvious candidate."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from convsv_cli.errors import UnreadableModelError, UsageError

CHOICES = (
    ("model.safetensors.index.json",),
    ("pytorch_model.bin.index.json",),
    ("model.safetensors",),
    ("pytorch_model.bin",),
    ("*.index.json",),
    ("*.onnx",),
    ("*.safetensors", "*.pt2", "*.pt", "*.pth", "*.ckpt", "*.th", "*.jit", "*.bin"),
)
"""Patterns of names, those that are looked for first before others; of equal ones there may be one file."""
HINT = "name one of the files"


def model_file(path: Path) -> Path:
    """The model in a folder; any other path as it is.

    Raises:
        UsageError: the folder has several models.
        UnreadableModelError: it has none, or may not be read.
    """
    if not _is_folder(path):
        return path
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    except OSError as error:
        raise UnreadableModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    for patterns in CHOICES:
        found = [name for name in names if _matches(name, patterns)]
        if len(found) > 1:
            shown = ", ".join(found[:5]) + (" ..." if len(found) > 5 else "")
            raise UsageError(f"a folder with several models: {shown}", where=str(path), hint=HINT)
        if found:
            return path / found[0]
    raise UnreadableModelError("this is a folder without a model", where=str(path), hint="name a model file")


def may_be_model(name: str) -> bool:
    """Whether a file of this name would be looked at as a folder's model."""
    return any(_matches(name, patterns) for patterns in CHOICES)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False  # reading it will say why
