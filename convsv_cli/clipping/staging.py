"""A copy of a model beside where it is to be, which takes that place at the end, or is gone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, TensorProto

from convsv_cli.errors import UsageError
from convsv_cli.loaders import parts_of
from convsv_cli.loaders.files import MAX_JSON, locate
from convsv_cli.loaders.onnx.reading import parse
from convsv_cli.loaders.onnx.scopes import scopes
from convsv_cli.loaders.onnx.tensors import external_file, stored_parts
from convsv_cli.loaders.quantised.config import NAMES
from convsv_cli.model.network import Network
from convsv_cli.replacing import blaming

SEVERAL = "a model in several files"
DATA = ".data"
"""What the file of the weights of a graph is called, behind the name of the graph."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """The copy.

    Attributes:
        source: what it is of.
        path: of its file, in a folder of its own, where what says how a model is quantised is beside it, too.
        output: where that is to be.
    """

    source: Path
    path: Path
    output: Path

    def renew(self) -> None:
        """Make it what the source is.

        Raises:
            UsageError: it cannot be written.
        """
        with blaming(self.output):
            self.path.unlink(missing_ok=True)  # rather than cut off what is mapped
            _copy(self.source, self.path)

    def publish(self) -> None:
        """Put all of its files where they are to be.

        Raises:
            UsageError: one cannot be written.
        """
        own = (file for file in self.path.parent.iterdir() if file.name.startswith(self.path.name))
        for file in sorted(own, key=lambda file: file == self.path):
            with blaming(self.output):
                file.replace(self.output.parent / file.name)


def outputs(network: Network, output: Path) -> tuple[Path, ...]:
    """The files that will be written for a model.

    Raises:
        UsageError: it is in several files, and no graph with data.
    """
    count = len(parts_of(Path(network.path)))
    if count and network.format != "onnx":
        raise UsageError(SEVERAL, where=network.path, hint="name one of its files, and write each by itself")
    return output, *(output.with_name(_data(output, index)) for index in range(count))


@contextmanager
def staged(network: Network, output: Path) -> Iterator[Staged]:
    """A copy of a model, which `renew` makes.

    Raises:
        UsageError: it cannot be written.
    """
    source = Path(network.path)
    with blaming(output):
        folder = Path(tempfile.mkdtemp(prefix=".convsv-", dir=output.parent))
    try:
        with blaming(output):
            for name in NAMES:
                _copy_config(source.with_name(name), folder / name)
        yield Staged(source=source, path=folder / output.name, output=output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_config(file: Path, copy: Path) -> None:
    """What is said beside the model, without which its quantised weights could not be read from the copy."""
    if file.is_file() and file.stat().st_size <= MAX_JSON:  # a larger one is refused where it is read
        shutil.copyfile(file, copy)


def _copy(model: Path, copy: Path) -> None:
    """A file; of a graph with data, these under names that belong to the copy, which its tensors then say."""
    parts = parts_of(model)
    if not parts:
        shutil.copyfile(model, copy)
        return
    found = parse(model)
    names: dict[Path, str] = {}
    for tensor in _tensors(found):
        file = external_file(tensor)
        if file is None:
            continue
        source = locate(model, file, f"the tensor {tensor.name!r}")
        name = names.setdefault(source, _data(copy, len(names)))
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    for source, name in names.items():
        shutil.copyfile(source, copy.with_name(name))
    copy.write_bytes(found.SerializeToString())


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    for scope in scopes(model.graph):
        for source in scope.sources.values():
            yield from stored_parts(source)


def _data(output: Path, index: int) -> str:
    return f"{output.name}{DATA}{index or ''}"
