"""Which files a model is in, and what is read of a file before it is believed."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from convsv_cli.errors import ConvsvError, UnreadableModelError, UnsafeModelError, UsageError
from convsv_cli.limits import credit
from convsv_cli.loaders.foreign import foreign
from convsv_cli.loaders.layouts import run_file
from convsv_cli.loaders.loader import Loader
from convsv_cli.missing import is_url, nothing_at
from convsv_cli.remote.files import look_beside, opened

P = ParamSpec("P")
T = TypeVar("T")
LOOSE = ("*.safetensors", "*.gguf", "*.pt2", "*.pt", "*.pth", "*.ckpt", "*.th", "*.jit", "*.bin")
"""Files that may as well be parts of what a training run has left in the folder."""
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""What PEFT calls the configuration of an adapter and, beside it, its weights."""
CHOICES = (
    (ADAPTER_CONFIG,),
    ("model.safetensors.index.json",),
    ("pytorch_model.bin.index.json",),
    ("model.safetensors",),
    ("pytorch_model.bin",),
    ("*.index.json",),
    ("*.onnx",),
    (".metadata",),
    LOOSE,
)
"""Patterns of names, those that are looked for first before others; of equal ones there may be one file."""
SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE | re.DOTALL)
"""Names of the parts of a model that llama.cpp has split, of which the first stands for all."""
HEAD_BYTES = 4096
MISTAKEN = (
    (rb"\Z", "the file is empty", "download or export it again"),
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "this is a git-LFS pointer, not the model",
        "run git lfs pull",
    ),
    (rb"(?i)\s*<(?:!doctype html|html)", "this is a web page, not a model", "download the file itself"),
)
"""What is commonly saved in a model file's place: how it begins, what to say of it, and what to do."""
MAX_JSON = 24 * 2**20
"""Bytes; Python may need up to 25 for each of them."""


def locating(function: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """The function, whose errors are about the file that it is called with, unless they say which."""

    @wraps(function)
    def located(path: Path, /, *args: P.args, **keywords: P.kwargs) -> T:
        try:
            return function(path, *args, **keywords)
        except ConvsvError as error:
            error.where = error.where or str(path)
            raise

    return located


def refusing(function: Callable[P, T]) -> Callable[P, T]:
    """The function, for which every error that is not meant for users is one that is: the file is damaged.

    CONVSV_TRACEBACK=1 shows where it comes from.
    """

    @wraps(function)
    def refused(*args: P.args, **keywords: P.kwargs) -> T:
        try:
            return function(*args, **keywords)
        except ConvsvError:
            raise
        except OSError as error:
            raise UnreadableModelError(f"cannot be read: {error.strerror or error}") from error
        except MemoryError as error:
            raise UnsafeModelError("reading it takes more memory than there is") from error
        except Exception as error:
            if os.environ.get("CONVSV_TRACEBACK"):
                raise
            raise UnreadableModelError(
                f"damaged in a way that convsv does not know: {type(error).__name__}: {error}",
                hint="if other programs read it, report it; CONVSV_TRACEBACK=1 shows where",
            ) from error

    return refused


@locating
def model_file(path: Path) -> Path:
    """The model in a folder, where there is one obvious candidate; of an adapter's weights its configuration.

    Any other path as it is.

    Raises:
        UsageError: the folder has several models.
        UnreadableModelError: it has none, or may not be read.
    """
    if not _is_folder(path):
        config = path.with_name(ADAPTER_CONFIG) if path.name in ADAPTER_WEIGHTS else path
        return config if os.path.exists(config) else path  # noqa: PTH110  (as in `locate`)
    try:
        names, run = sorted(entry.name for entry in path.iterdir() if entry.is_file()), run_file(path)
    except OSError as error:
        raise UnreadableModelError(f"cannot be read: {error.strerror}") from error
    for patterns in CHOICES:
        if patterns is LOOSE and run is not None:
            return run
        found = [name for name in names if _matches(name, patterns)]
        if len(found) > 1:
            raise UsageError(
                f"a folder with several models: {_some(found)}",
                hint="pass one of the files, or see convsv sweep",
            )
        if found:
            return path / found[0]
    adapters = _adapters_below(path)
    if adapters:
        raise UsageError(
            f"a folder with adapters in folders of their own: {_some(adapters)}", hint="pass one of them"
        )
    other = next(filter(None, map(foreign, [path.name, *names])), None)
    hint = (
        f"it holds {other.name}: {other.instead}"
        if other
        else "pass a model file; convsv sweep finds those in folders below"
    )
    raise UnreadableModelError("this is a folder without a model", hint=hint)


def _adapters_below(folder: Path) -> list[str]:
    """The folders within one that hold an adapter, as PEFT saves those that have names."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if (entry / ADAPTER_CONFIG).is_file())
    except OSError:
        return []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def may_be_model(name: str) -> bool:
    """Whether a file of this name would be looked at as a folder's model."""
    return any(_matches(name, patterns) for patterns in CHOICES)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether it is so called; what by its name is a further part of a model is none by itself."""
    split = SPLIT.fullmatch(name)
    further = split is not None and int(split[2]) != 1
    return not further and any(fnmatchcase(name.lower(), pattern) for pattern in patterns)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False  # reading it will say why


@locating
def first_to_recognise(path: Path, loaders: Iterable[Loader]) -> Loader | None:
    """The first of the loaders whose format the file at `path` has, by its first 4 KiB and its name.

    Raises:
        UnreadableModelError: there is no such file, it is not a regular file, it may not be read, or it is
            empty, a git-LFS pointer or a web page.
    """
    head = head_of(path)
    return next((loader for loader in loaders if loader.recognises(head, path)), None)


def head_of(path: Path) -> bytes:
    """Its first 4 KiB.

    Raises:
        UnreadableModelError: as `first_to_recognise`.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
            raise UnreadableModelError(f"this is {kind}", hint="pass a model file")
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or is_url(path):
            raise nothing_at(UnreadableModelError, path) from error
        reason = error.strerror or str(error)
        raise UnreadableModelError(f"cannot be read: {reason}", hint="check the path") from error
    except ValueError as error:
        raise UnreadableModelError(f"not a valid path: {error}", hint="check the path") from error
    for pattern, what, hint in MISTAKEN:
        if re.match(pattern, head):
            raise UnreadableModelError(what, hint=hint)
    return head


@locating
def locate(model: Path, location: str, what: str) -> Path:
    """The resolved file at `location`: a further file of a model, which must be a regular one in its folder.

    A cache may link both the model and its data elsewhere, so the folder of the resolved model counts too.

    Args:
        model: the file that names it.
        location: as named there, relative to the model's folder.
        what: what refers to it, for error messages.

    Raises:
        UnreadableModelError: there is no such file.
        UnsafeModelError: it lies outside the model's folder, or is not a regular file.
    """
    path = model.parent / location
    if Path(location).anchor or ".." in Path(location).parts or not location or "\0" in location:
        raise UnsafeModelError(f"{what} refers to data at {location!r}, outside the model's folder")
    look_beside(model, location)
    if not os.path.exists(path):  # noqa: PTH110  (which takes a name that no file can have for a missing one)
        raise UnreadableModelError(
            f"the data file {location!r} is missing", hint="put it in the model's folder"
        )
    resolved = path.resolve()
    folders = {model.parent.resolve(), model.resolve().parent}
    if not any(resolved.is_relative_to(folder) for folder in folders):
        raise UnsafeModelError(f"the data file {location!r} lies outside the model's folder")
    if not stat.S_ISREG(resolved.stat().st_mode):
        raise UnsafeModelError(f"the data file {location!r} is not a regular file")
    credit(resolved)
    return resolved


def parse_json(text: bytes, what: str) -> Any:  # noqa: ANN401
    """The value of a JSON text in a model file.

    Args:
        text: at most `MAX_JSON` bytes of it are looked at.
        what: what it is, for error messages.

    Raises:
        UnsafeModelError: it is too long to read safely.
        UnreadableModelError: it is not JSON, or says one thing twice.
    """
    if len(text) > MAX_JSON:
        raise UnsafeModelError(f"{what} is longer than {MAX_JSON // 2**20} MiB")
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise UnreadableModelError(
            f"{what} is damaged: {reason}", hint="download or save it again"
        ) from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{key!r} appears twice")
        result[key] = value
    return result
