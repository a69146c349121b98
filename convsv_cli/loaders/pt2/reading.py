"""A program of torch.export to a `Network`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.loaders.pt2.archive import HINT, open_archive
from convsv_cli.loaders.pt2.program import Program, program
from convsv_cli.loaders.pt2.rows import rows
from convsv_cli.loaders.pt2.tensors import stored_tensors
from convsv_cli.loaders.state_dict import StoredTensor
from convsv_cli.loaders.training_state import notes_on, training_state
from convsv_cli.model.network import InputSize, Network


def read(path: Path, input_size: InputSize) -> Network:
    """The layers of a program, in the order of its nodes; then weights that no known operator multiplies by.

    Raises:
        UnreadableModelError: damaged, or no program of torch.export.
        UsageError: another input size than that of export.
        UnsafeModelError: see `records` and `stored_tensors`.
    """
    with _damage(path):
        return _network(path, input_size)


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    """The stored tensors by name.

    Raises:
        UnreadableModelError, UnsafeModelError: as `read`.
    """
    with _damage(path):
        return stored_tensors(open_archive(path))


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Descriptions that do not follow torch's schema, in whatever way, as one error."""
    try:
        yield
    except ConvsvError:
        raise
    except Exception as error:
        raise UnreadableModelError(
            f"the archive is damaged ({type(error).__name__})", where=str(path), hint=HINT
        ) from error


def _network(path: Path, input_size: InputSize) -> Network:
    archive = open_archive(path)
    tensors = stored_tensors(archive)
    graph = program(archive.json(f"models/{archive.model}.json"))
    _check_size(graph, input_size, path)
    found = rows(graph, tensors)
    if not found:
        raise UnreadableModelError("no weights found in this program", where=str(path), hint=HINT)
    return Network(
        path=str(path),
        format="pt2",
        files=(path.name,),
        inputs=tuple((name, graph.shapes.get(name, ())) for name in graph.inputs),
        layers=found,
        notes=notes_on(training_state(tensors)),
    )


def _check_size(graph: Program, asked: InputSize, path: Path) -> None:
    """Sizes are those of export: to know others, convsv would have to run the program."""
    shapes = {name: graph.shapes.get(name, ()) for name in graph.inputs}
    fits = all(shapes.get(name) == shape for name, shape in asked.shapes)
    spatial = [shape[2:] for shape in shapes.values() if len(shape) > 2]
    if asked.size and not any(asked.for_axes(len(size)) == size for size in spatial):
        fits = False
    if not fits:
        known = ", ".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
        raise UsageError(
            f"the program was exported at {known}", where=str(path), hint="export it at the size you want"
        )
