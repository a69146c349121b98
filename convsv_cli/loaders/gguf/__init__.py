"""Files of llama.cpp: `.gguf`, in one part or several."""

from __future__ import annotations

from pathlib import Path

from convsv_cli.loaders.loader import Loader, NamedTensors, state_dict


def _tensors(path: Path) -> NamedTensors:
    from convsv_cli.loaders.gguf.reading import tensors_of

    return tensors_of(path)


def _parts(path: Path) -> tuple[str, ...]:
    from convsv_cli.loaders.gguf.reading import parts_of

    return parts_of(path)


LOADER = Loader(
    name="gguf",
    suffixes=(".gguf",),
    description="models of llama.cpp (.gguf)",
    signatures={"": rb"GGUF"},
    load=state_dict(_tensors, "pass a file that holds a network"),
    parts=_parts,
    tensors=_tensors,
)
