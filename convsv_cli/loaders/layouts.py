"""Where the model is in the folder of a training run: one table of layouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convsv_cli.errors import UnsafeModelError
from convsv_cli.remote.files import opened

MOST_POINTED = 200
"""Bytes of a file that names a folder."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a training leaves a model in a folder.

    Attributes:
        files: globs, relative to the folder, of the file that the model is known by; the first one counts.
        pointer: name of a file that says in which folder below this one it is, if there may be one.
        named: how that folder is called, with what the file says in the place of "{}".
    """

    files: tuple[str, ...]
    pointer: str = ""
    named: str = "{}"


LAYOUTS = (
    Layout(files=(".metadata", "pytorch_model_fsdp*/.metadata", "model/.metadata")),
    Layout(
        files=("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt"), pointer="latest"
    ),
    Layout(
        files=(".metadata", "mp_rank_00*/model_optim_rng.pt", "mp_rank_00*/model_rng.pt"),
        pointer="latest_checkpointed_iteration.txt",
        named="iter_{}",
    ),
    Layout(files=("*_rank0.bin", "*_rank_0.bin")),
)


def run_file(folder: Path) -> Path | None:
    """The file that the model of a training run is known by, in the run's folder or one below it; or None.

    Raises:
        UnsafeModelError: a file names a folder elsewhere.
        OSError: the folder may not be read.
    """
    found = (path for layout in LAYOUTS for home in _homes(folder, layout) for path in _files(home, layout))
    first = next(found, None)
    if first is not None and not first.parent.resolve().is_relative_to(folder.resolve()):
        raise UnsafeModelError(f"{first.parent.name!r} is a folder elsewhere", where=str(folder))
    return first


def _homes(folder: Path, layout: Layout) -> Iterator[Path]:
    """The folder that a layout's pointer names, and the folder itself."""
    pointer = folder / layout.pointer
    if layout.pointer and pointer.is_file():
        with opened(pointer) as file:
            said = file.read(MOST_POINTED).decode(errors="replace").strip()
        name = layout.named.format(said.zfill(7) if said.isdecimal() else said)
        if Path(name).name != name or "\0" in name:
            raise UnsafeModelError(f"{layout.pointer!r} names a folder elsewhere: {said!r}")
        yield folder / name
    yield folder


def _files(home: Path, layout: Layout) -> Iterator[Path]:
    for pattern in layout.files:
        yield from (path for path in sorted(home.glob(pattern)) if path.is_file())
