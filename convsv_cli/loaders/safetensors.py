"""safetensors files: named tensors and nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.files import MAX_JSON, locating, parse_json
from convsv_cli.loaders.loader import Loader, NamedTensors, StoredTensor, check_tensors, state_dict
from convsv_cli.model.home import Place, plain
from convsv_cli.remote.files import opened, outline

if TYPE_CHECKING:
    import torch

LENGTH_BYTES = 8
HINT = "download or save it again"
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",
    "C64": "complex64",
    **{f"{kind[0].upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


@locating
def _tensors(path: Path) -> NamedTensors:
    """The tensors of the file, each read when its values are asked for."""
    from safetensors import SafetensorError, safe_open

    begin, places, metadata = _checked_places(path)

    def stored(name: str) -> StoredTensor:
        header = file.get_slice(name)
        dtype = DTYPES.get(header.get_dtype(), header.get_dtype().lower())
        shape = tuple(header.get_shape())
        return StoredTensor(
            shape=shape,
            dtype=dtype,
            read=lambda: _values(path, places[name], shape, dtype),
            home=lambda: plain(_place(path, places[name], shape, dtype)),
        )

    try:
        with safe_open(outline(path, begin), framework="pt") as file:
            found = {name: stored(name) for name in file.offset_keys()}
    except SafetensorError as error:
        raise UnreadableModelError(f"the file is damaged ({error})", hint=HINT) from error
    return NamedTensors(tensors=found, format="safetensors", metadata=metadata)


def _place(path: Path, start: int, shape: tuple[int, ...], dtype: str) -> Place:
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return Place(shape=shape, dtype=dtype, file=path, start=start, stride=stride)


def _values(path: Path, start: int, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    """The values, without the header of a file being read again for each tensor in it."""
    import torch

    from convsv_cli.loaders.mapped import mapped

    return mapped(path, start, math.prod(shape), getattr(torch, dtype)).reshape(shape)


def _checked_places(path: Path) -> tuple[int, dict[str, int], dict[str, str]]:
    """Where the header ends, and each tensor begins, as it says, which is of bounded length; its metadata.

    Raises:
        UnreadableModelError: it is damaged, or says one thing twice: readers differ in what they take.
        UnsafeModelError: it is too long.
    """
    with opened(path) as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = file.read(min(length, MAX_JSON + 1))
    if length > MAX_JSON >= len(header):
        raise UnreadableModelError("the file is damaged (its header is incomplete)", hint=HINT)
    parsed = parse_json(header, "the header")
    entries = {name: entry for name, entry in _items(parsed) if isinstance(entry, dict)}
    check_tensors((name, tuple(_list(entry.get("shape")))) for name, entry in entries.items())
    places = {name: _list(entry.get("data_offsets"))[:1] for name, entry in entries.items()}
    begin = LENGTH_BYTES + length
    starts = {
        name: begin + start for name, starts in places.items() for start in starts if type(start) is int
    }
    said = entries.get("__metadata__", {})
    return begin, starts, {name: value for name, value in said.items() if isinstance(value, str)}


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


LOADER = Loader(
    name="safetensors",
    suffixes=(".safetensors",),
    description="safetensors (.safetensors)",
    signatures={"": rb'(?s:.{8})\{"', ".safetensors": b""},
    load=state_dict(_tensors, "pass a file that holds a network"),
    tensors=_tensors,
)
