"""A program of torch.export to a `Network`, with the graph that it computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.limits import LimitError
from convsv_cli.loaders.files import locating
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.names import notes_on, training_state
from convsv_cli.loaders.onnx.reading import network_of
from convsv_cli.loaders.pt2.archive import HINT, open_archive, stored_tensors
from convsv_cli.loaders.pt2.program import Program, program
from convsv_cli.loaders.pt2.rows import Tensors, rows_of
from convsv_cli.loaders.pt2.translation import MALFORMED, translated
from convsv_cli.loaders.pt2.translation.writer import UntranslatedError
from convsv_cli.loaders.rows import with_keys
from convsv_cli.model.graph import Graph
from convsv_cli.model.network import InputSize, Network

NO_GRAPH = "convsv takes no graph from this program: {}"
ONE_SAMPLE = "the open first axis of the input {!r} is 1: the bound is for one sample"


@locating
def read(path: Path, input_size: InputSize) -> Network:
    """The layers of a program, in the order of its nodes; then weights that no known operator multiplies by.

    Raises:
        UnreadableModelError: damaged, or no program of torch.export.
        UsageError: another input size than that of export.
        UnsafeModelError: see `open_archive` and `stored_tensors`.
    """
    with _damage():
        return _network(path, input_size)


@locating
def tensors_of(path: Path) -> dict[str, StoredTensor]:
    """The stored tensors by name.

    Raises:
        UnreadableModelError, UnsafeModelError: as `read`.
    """
    with _damage():
        return stored_tensors(open_archive(path))


@locating
def onnx_model(path: Path, input_size: InputSize) -> ModelProto:
    """The ONNX model that computes what a program does, at an input size.

    Raises:
        UnreadableModelError, UsageError, UnsafeModelError: as `read`; or the program has no such model.
    """
    with _damage():
        archive = open_archive(path)
        found = program(archive.json(f"models/{archive.model}.json"), input_size)
        _check_size(found, input_size)
        try:
            return translated(found, stored_tensors(archive), path)
        except UntranslatedError as error:
            raise UnreadableModelError(NO_GRAPH.format(error), hint="export the model to ONNX") from error


@contextmanager
def _damage() -> Iterator[None]:
    """Descriptions that do not follow torch's schema, in whatever way, as one error."""
    try:
        yield
    except ConvsvError:
        raise
    except Exception as error:
        raise UnreadableModelError(f"the archive is damaged ({type(error).__name__})", hint=HINT) from error


def _network(path: Path, input_size: InputSize) -> Network:
    archive = open_archive(path)
    tensors = stored_tensors(archive)
    found = program(archive.json(f"models/{archive.model}.json"), input_size)
    _check_size(found, input_size)
    rows = rows_of(found, tensors)
    if not rows:
        raise UnreadableModelError("no weights found in this program", hint=HINT)
    content, graph, reason = graph_of(found, tensors, path, NO_GRAPH)
    return Network(
        path=str(path),
        format="pt2",
        files=(path.name,),
        inputs=tuple((name, found.shapes.get(name, ())) for name in found.inputs),
        layers=rows if graph is None else tuple(with_keys(rows, graph)),
        notes=notes_on(training_state(tensors)),
        graph=graph,
        executable=(lambda: content) if content else None,
        no_graph=reason,
    )


def graph_of(found: Program, tensors: Tensors, path: Path, refusal: str) -> tuple[bytes, Graph | None, str]:
    """What a program computes, as an ONNX model and its graph; or nothing, and why.

    Args:
        found: the program.
        tensors: that are stored, by name.
        path: of the file that they are in.
        refusal: what to say where there is none, with a place for the reason.
    """
    try:
        model = translated(found, tensors, path)
        content = model.SerializeToString()  # reading it changes it
        network = network_of(model, path, InputSize())
    except (UntranslatedError, LimitError, ConvsvError) as error:
        return b"", None, refusal.format(error.what if isinstance(error, ConvsvError) else error)
    except MALFORMED as error:
        return b"", None, refusal.format(f"it is damaged ({type(error).__name__})")
    if network.graph is None:
        return b"", None, network.graph_missing
    assumed = (*(ONE_SAMPLE.format(name) for name in found.batch), *network.graph.assumed)
    return content, replace(network.graph, assumed=assumed), ""


def _check_size(found: Program, asked: InputSize) -> None:
    """See that the program takes what is asked for: axes that are not open have the size of export."""
    shapes = {name: found.shapes.get(name, ()) for name in found.inputs}
    fits = all(shapes.get(name) == shape for name, shape in asked.shapes)
    spatial = [shape[2:] for shape in shapes.values() if len(shape) > 2]
    if asked.size and not any(asked.for_axes(len(size)) == size for size in spatial):
        fits = False
    if not fits:
        known = ", ".join(f"{name}:{_declared(shape, found.open[name])}" for name, shape in shapes.items())
        raise UsageError(f"the program was exported for {known}", hint="export it at the size you want")


def _declared(shape: tuple[int, ...], is_open: tuple[bool, ...]) -> str:
    return "x".join("?" if free else str(size) for size, free in zip(shape, is_open, strict=True))
