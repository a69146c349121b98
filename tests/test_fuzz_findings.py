"""Files that once ended in an internal error; `benchmarks/fuzz.py` found them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from convsv_cli import audit, load
from convsv_cli.errors import UnreadableModelError

V, G = torch.ones(3, 2, 3, 3), torch.ones(3, 1, 1, 1)
PARTS = {
    "another length": {"weight_g": torch.ones(2, 1, 1, 1), "weight_v": V},
    "no entries": {"weight_g": torch.ones(0, 1, 1, 1), "weight_v": V},
    "more axes": {"parametrizations.weight.original0": torch.ones(2, 3, 1, 1, 1),
                  "parametrizations.weight.original1": V},
    "a mask of another shape": {"weight_orig": V, "weight_mask": torch.ones(3, 4, 3, 3)},
    "a larger mask": {"weight_orig": G, "weight_mask": V},
    "a v of another length": {"weight_orig": V, "weight_u": torch.ones(3), "weight_v": torch.ones(7)},
}  # fmt: skip


@pytest.mark.parametrize("parts", PARTS)
def test_parts_that_do_not_fit_are_listed(parts: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({f"conv.{name}": tensor for name, tensor in PARTS[parts].items()}, path)
    (row,) = audit(path).layers
    assert (row.status, row.name) == ("unsupported", "conv")
    assert "do not fit" in row.reason


@pytest.mark.parametrize("position", [2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_zip_directory_beyond_the_file(position: int, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"conv.weight": V}, path)
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<L", data, end + 16, 2**32 - 1)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, position, 1)
    path.write_bytes(data[:end] + locator + data[end:])
    with pytest.raises(UnreadableModelError, match="zip archive is damaged"):
        load(path)


@pytest.mark.parametrize("position", [2**32, 2**63, 2**64 - 1])
def test_a_zip_record_beyond_the_file(position: int, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"conv.weight": V}, path)
    data = bytearray(path.read_bytes())
    entry, end = data.find(b"PK\x01\x02"), data.rfind(b"PK\x05\x06")
    name, extra = struct.unpack_from("<2H", data, entry + 28)
    wide = struct.pack("<2HQ", 1, 8, position)
    struct.pack_into("<L", data, entry + 42, 2**32 - 1)
    struct.pack_into("<H", data, entry + 30, len(wide))
    struct.pack_into("<L", data, end + 12, struct.unpack_from("<L", data, end + 12)[0] + len(wide) - extra)
    at = entry + 46 + name
    path.write_bytes(bytes(data[:at]) + wide + bytes(data[at + extra :]))
    with pytest.raises(UnreadableModelError, match="zip archive is damaged"):
        load(path)
