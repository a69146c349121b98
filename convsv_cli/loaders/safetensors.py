"""safetensors files: named tensors and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.files import MAX_JSON, locating, parse_json
from convsv_cli.loaders.loader import Loader, NamedTensors, StoredTensor, check_tensors, state_dict

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

    _check_header(path)

    def read(name: str) -> torch.Tensor:
        with safe_open(path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
            return tensor

    def stored(name: str) -> StoredTensor:
        header = file.get_slice(name)
        dtype = DTYPES.get(header.get_dtype(), header.get_dtype().lower())
        return StoredTensor(shape=tuple(header.get_shape()), dtype=dtype, read=lambda: read(name))

    try:
        with safe_open(path, framework="pt") as file:
            found = {name: stored(name) for name in file.offset_keys()}
    except SafetensorError as error:
        raise UnreadableModelError(f"the file is damaged ({error})", hint=HINT) from error
    return NamedTensors(tensors=found, format="safetensors")


def _check_header(path: Path) -> None:
    """See that the header is of bounded length, and names each tensor once.

    Raises:
        UnreadableModelError: it is damaged, or says one thing twice: readers differ in what they take.
        UnsafeModelError: it is too long.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = file.read(min(length, MAX_JSON + 1))
    if length > MAX_JSON >= len(header):
        raise UnreadableModelError("the file is damaged (its header is incomplete)", hint=HINT)
    entries = parse_json(header, "the header")
    if isinstance(entries, dict):
        shapes = (entry.get("shape") if isinstance(entry, dict) else None for entry in entries.values())
        sizes = (tuple(shape) if isinstance(shape, list) else () for shape in shapes)
        check_tensors(zip(entries, sizes, strict=True))


LOADER = Loader(
    name="safetensors",
    suffixes=(".safetensors",),
    description="safetensors (.safetensors)",
    signatures={"": rb'(?s:.{8})\{"', ".safetensors": b""},
    load=state_dict(_tensors, "pass a file that holds a network"),
    tensors=_tensors,
)
