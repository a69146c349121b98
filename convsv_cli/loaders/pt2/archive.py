"""The archive that torch.export.save writes: JSON descriptions, and weights as raw bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convsv_cli.errors import UnreadableModelError, UnsafeModelError
from convsv_cli.loaders.json_text import MAX_BYTES, parse_json
from convsv_cli.loaders.pt2.records import records
from convsv_cli.loaders.zip_records import ZipRecord

MODELS, WEIGHTS, CONSTANTS = "models/", "data/weights/", "data/constants/"
PICKLED = ("serialized_state_dict.pt", "serialized_state_dict.json")
HINT = "save it again with torch.export.save of torch 2.10 or newer, or export the model to ONNX"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An archive with one program.

    Attributes:
        path: the file.
        records: all of them, by name without the archive's folder.
        model: the program's name, usually "model".
    """

    path: Path
    records: dict[str, ZipRecord]
    model: str

    def json(self, name: str) -> Any:  # noqa: ANN401
        """The JSON in a record.

        Raises:
            UnreadableModelError, UnsafeModelError: see `parse_json`.
        """
        record = self.records[name]
        with self.path.open("rb") as file:
            file.seek(record.start)
            return parse_json(file.read(min(record.size, MAX_BYTES + 1)), f"the record {name!r}", self.path)

    def text(self, name: str, default: str) -> str:
        """The text in a short record; the default where there is none."""
        record = self.records.get(name)
        if record is None:
            return default
        with self.path.open("rb") as file:
            file.seek(record.start)
            return file.read(min(record.size, 64)).decode("utf-8", "replace").strip()


def open_archive(path: Path) -> Archive:
    """The archive at `path`.

    Raises:
        UnsafeModelError: see `records`; or its weights are a pickle, as those of torch 2.8 and older are.
        UnreadableModelError: damaged, no program of torch.export, or another one than one.
    """
    found = records(path)
    if any(name in found for name in PICKLED):
        raise UnsafeModelError("its weights are a pickle: too old a form", where=str(path), hint=HINT)
    models = [name for name in found if name.startswith(MODELS) and name.endswith(".json")]
    if len(models) != 1:
        held = f"{len(models)} programs" if models else "no program"
        raise UnreadableModelError(
            f"this archive holds {held} of torch.export, not one", where=str(path), hint=HINT
        )
    archive = Archive(path=path, records=found, model=models[0].removeprefix(MODELS).removesuffix(".json"))
    if archive.text("byteorder", "little") != "little":
        raise UnreadableModelError("its weights are big-endian", where=str(path), hint=HINT)
    return archive
