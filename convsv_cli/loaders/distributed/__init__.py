"""Models as trainings on many devices leave them: tensors in chunks, flattened, or split between ranks."""

from __future__ import annotations

from pathlib import Path

from convsv_cli.loaders.loader import Loader, NamedTensors, state_dict


def _tensors(path: Path) -> NamedTensors:
    from convsv_cli.loaders.distributed.metadata import tensors_of

    return tensors_of(path)


def _parts(path: Path) -> tuple[str, ...]:
    from convsv_cli.loaders.distributed.metadata import parts_of

    return parts_of(path)


LOADER = Loader(
    name="distributed checkpoint",
    suffixes=(".metadata",),
    description="folders of torch.distributed.checkpoint (.metadata)",
    signatures={"": rb"\x80[\x02-\x05](?s:.{0,16})torch\.distributed\.checkpoint\.metadata"},
    load=state_dict(_tensors, "pass a folder that holds a network"),
    parts=_parts,
    tensors=_tensors,
)
