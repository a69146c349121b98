"""safetensors files: named tensors and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.json_text import MAX_BYTES, parse_json
from convsv_cli.loaders.limits import check_tensors
from convsv_cli.loaders.loader import Loader
from convsv_cli.model.network import InputSize, Network

if TYPE_CHECKING:
    import torch

    from convsv_cli.loaders.named_tensors import NamedTensors
    from convsv_cli.loaders.state_dict import StoredTensor

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


def _recognises(head: bytes, suffix: str) -> bool:
    return suffix == ".safetensors" or head[8:10] == b'{"'


def _load(path: Path, input_size: InputSize) -> Network:
    from convsv_cli.loaders.named_tensors import network_of

    return network_of(path, input_size, _tensors, "name a file that holds a network")


def _tensors(path: Path) -> NamedTensors:
    from convsv_cli.loaders.named_tensors import NamedTensors

    return NamedTensors(tensors=_stored(path), format="safetensors")


def _stored(path: Path) -> dict[str, StoredTensor]:
    """The tensors of the file, each read when its values are asked for."""
    from safetensors import SafetensorError, safe_open

    from convsv_cli.loaders.state_dict import StoredTensor

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
            return {name: stored(name) for name in file.offset_keys()}
    except SafetensorError as error:
        raise UnreadableModelError(f"the file is damaged ({error})", where=str(path), hint=HINT) from error


def _check_header(path: Path) -> None:
    """See that the header is of bounded length, and names each tensor once.

    Raises:
        UnreadableModelError: it is damaged, or says one thing twice: readers differ in what they take.
        UnsafeModelError: it is too long.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = file.read(min(length, MAX_BYTES + 1))
    if length > MAX_BYTES >= len(header):
        raise UnreadableModelError(
            "the file is damaged (its header is not whole)", where=str(path), hint=HINT
        )
    entries = parse_json(header, "the header", path)
    if isinstance(entries, dict):
        shapes = (entry.get("shape") if isinstance(entry, dict) else None for entry in entries.values())
        sizes = (tuple(shape) if isinstance(shape, list) else () for shape in shapes)
        check_tensors(zip(entries, sizes, strict=True), str(path))


LOADER = Loader(
    name="safetensors",
    suffixes=(".safetensors",),
    description="safetensors (.safetensors)",
    recognises=_recognises,
    load=_load,
    tensors=_tensors,
)
