"""The objects in a checkpoint file, read by torch's restricted unpickler; nothing of it is executed."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from convsv_cli.errors import UnreadableModelError

_UNSUPPORTED = re.compile(r"unsupported (?:global|class|operand)[:\s]+(?:GLOBAL )?([\w.]+)", re.IGNORECASE)
STATE_DICT_HINT = "save model.state_dict(), or export the model to ONNX"


def unpickle(path: Path) -> Any:  # noqa: ANN401
    """What the file holds: tensors and plain containers, tensors mapped from the file where that is a zip.

    Raises:
        UnreadableModelError: another kind of file, a damaged one, or one with objects that are not plain.
    """
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _refuse_programs(path)
        # weights_only is given, since an environment variable can change its default.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except UnreadableModelError:
        raise
    except Exception as error:
        raise _refusal(path, error) from error


def _refuse_programs(path: Path) -> None:
    """Tell archives that hold a program from those that hold a checkpoint, by their members' names."""
    with zipfile.ZipFile(path) as archive:
        members = [name.partition("/")[2] for name in archive.namelist()]
    if "constants.pkl" in members or any(name.startswith("code/") for name in members):
        raise UnreadableModelError(
            "this is a TorchScript archive, which convsv does not read yet",
            where=str(path),
            hint=STATE_DICT_HINT,
        )
    if "archive_format" in members or any(name.startswith("models/") for name in members):
        raise UnreadableModelError(
            "this is a torch.export archive (.pt2), which convsv does not read yet",
            where=str(path),
            hint=STATE_DICT_HINT,
        )
    if "data.pkl" not in members:
        raise UnreadableModelError(
            "this zip file is no PyTorch checkpoint",
            where=str(path),
            hint="name a file that torch.save wrote",
        )


def _refusal(path: Path, error: Exception) -> UnreadableModelError:
    """Plain words for what the unpickler objects to."""
    rejected = _UNSUPPORTED.search(str(error))
    if rejected:
        return UnreadableModelError(
            f"the file holds a pickled {rejected[1]}, and convsv runs nothing that is in a file",
            where=str(path),
            hint=STATE_DICT_HINT,
        )
    return UnreadableModelError(
        f"the file is damaged or no PyTorch checkpoint ({type(error).__name__})",
        where=str(path),
        hint="download or save it again",
    )
