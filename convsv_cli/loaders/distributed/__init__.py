"""Models as trainings on many devices leave them: tensors in chunks, flattened, or split between ranks."""

from __future__ import annotations

from pathlib import Path

from convsv_cli.loaders.loader import Loader, NamedTensors, state_dict

METADATA = rb"\x80[\x02-\x05](?s:.{0,16})torch\.distributed\.checkpoint\.metadata"
RANKS = (
    r"(zero_pp_rank_\d+_)?mp_rank_\d+_model_states\.pt",
    r"mp_rank_\d+(_\d+){0,2}/model(_optim)?_rng\.pt",
    r".*_rank_?\d+\.bin",
)


def _is_of_rank(path: Path) -> bool:
    return LOADER.knows(path)


def _tensors(path: Path) -> NamedTensors:
    from convsv_cli.loaders.distributed import metadata, ranks

    return ranks.tensors_of(path) if _is_of_rank(path) else metadata.tensors_of(path)


def _parts(path: Path) -> tuple[str, ...]:
    from convsv_cli.loaders.distributed import metadata, ranks

    return ranks.parts_of(path) if _is_of_rank(path) else metadata.parts_of(path)


LOADER = Loader(
    name="distributed checkpoint",
    suffixes=(".metadata",),
    description="folders of torch.distributed.checkpoint (.metadata), DeepSpeed and Megatron",
    signatures={"": METADATA},
    names="|".join(f"(?:{name})" for name in RANKS),
    load=state_dict(_tensors, "pass a folder that holds a network"),
    parts=_parts,
    tensors=_tensors,
)
