"""A TorchScript archive with the graph that its code computes, or why it has none."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from onnx import ModelProto

from convsv_cli.errors import ConvsvError, UsageError
from convsv_cli.limits import LimitError
from convsv_cli.loaders.checkpoint.archives import archive_members, read_pickle
from convsv_cli.loaders.checkpoint.modules import walk
from convsv_cli.loaders.checkpoint.script import Script, children, is_script, script
from convsv_cli.loaders.checkpoint.values import Record, Tensor
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.loaders.pt2.program import Program, makers_of
from convsv_cli.loaders.pt2.reading import graph_of
from convsv_cli.loaders.pt2.translation import translated
from convsv_cli.loaders.pt2.translation.writer import UntranslatedError
from convsv_cli.loaders.rows import found_in, with_keys
from convsv_cli.loaders.state_dict import AS_LARGE, Row
from convsv_cli.loaders.torchscript.calls import EXPORTED, Calls
from convsv_cli.loaders.torchscript.following import MALFORMED, Following
from convsv_cli.loaders.torchscript.inputs import Fed, attempts, types
from convsv_cli.loaders.torchscript.overloads import RefusedError
from convsv_cli.loaders.torchscript.sources import Sources
from convsv_cli.loaders.torchscript.stored import Stored, meta_of
from convsv_cli.loaders.torchscript.tree import Function, UnfollowedError
from convsv_cli.loaders.torchscript.values import Value, tensors_in
from convsv_cli.loaders.zip_records import ZipRecord, zip_records
from convsv_cli.model.graph import Graph, Names
from convsv_cli.model.layer import Layer
from convsv_cli.model.linear_map import LinearMap
from convsv_cli.model.network import NO_GRAPH, InputSize, Network
from convsv_cli.names import plain_names
from convsv_cli.remote.files import opened

REFUSAL = f"{NO_GRAPH['torchscript']}: {{}}"
IN_TRAINING = "; the module was saved in training: call eval() before"
FORWARD, TRACED = "forward", "traced_inputs.pkl"
ZIP = b"PK\x03\x04"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the code computes.

    Attributes:
        program: that.
        tensors: stored ones that it uses, by name.
        assumed: what was taken for granted.
    """

    program: Program
    tensors: dict[str, StoredTensor]
    assumed: tuple[str, ...]


def is_archive(path: Path) -> bool:
    """Whether a checkpoint is a TorchScript archive.

    Raises:
        UnreadableModelError, UnsafeModelError: it is a zip archive that none of PyTorch's is.
    """
    with opened(path) as file:
        zipped = file.read(len(ZIP)) == ZIP
    return zipped and is_script(archive_members(zip_records(path)))


def with_graph(network: Network, path: Path, asked: InputSize) -> Network:
    """The network of an archive with its graph, at an input size; or with the reason why it has none.

    Args:
        network: its layers.
        path: of the archive.
        asked: the input size; the file says none.

    Raises:
        UsageError: it takes no input of that name.
        UnreadableModelError, UnsafeModelError: it is damaged, or claims more than it holds.
    """
    try:
        found = _found(path, asked)
    except (UnfollowedError, LimitError) as error:
        return replace(network, no_graph=REFUSAL.format(error))
    except MALFORMED as error:
        return replace(network, no_graph=REFUSAL.format(f"it is damaged ({type(error).__name__})"))
    content, graph, reason = graph_of(found.program, found.tensors, path, REFUSAL)
    if graph is None:
        return replace(network, no_graph=reason)
    graph = replace(graph, assumed=(*graph.assumed, *found.assumed))
    return replace(
        network,
        inputs=tuple((name, found.program.shapes[name]) for name in found.program.inputs),
        layers=tuple(with_keys(_sized(network.layers, graph), graph)),
        notes=(*network.notes, *found.assumed),
        graph=graph,
        executable=lambda: content,
    )


def _sized(rows: Iterable[Row], graph: Graph) -> Iterator[Row]:
    """Rows at the input size that their layer has in the graph, instead of what was assumed of it.

    Those of layers that are used at several sizes are of any size.
    """
    sizes: dict[Hashable, set[tuple[int, ...] | None]] = {}
    for each in found_in(graph):
        item = each.item
        if isinstance(item, LinearMap):
            key = item.constant.name, item.kernel_shape, item.geometry
            sizes.setdefault(key, set()).add(item.input_size)
    for row in rows:
        known = (
            sizes.get((row.weight, row.kernel_shape, row.geometry), set()) if isinstance(row, Layer) else ()
        )
        if not isinstance(row, Layer) or not known or not row.geometry.stride:
            yield row
            continue
        line = AS_LARGE.format("x".join(map(str, row.input_size or ())))
        assumed = tuple(each for each in row.assumed if each != line)
        yield replace(row, input_size=next(iter(known)) if len(known) == 1 else None, assumed=assumed)


def onnx_model(path: Path, asked: InputSize) -> ModelProto:
    """The ONNX model that computes what the code does, at an input size.

    Raises:
        UsageError: the code is not followed, or takes no input of that name.
        UnreadableModelError, UnsafeModelError: as `with_graph`.
    """
    try:
        found = _found(path, asked)
        return translated(found.program, found.tensors, path)
    except (UnfollowedError, UntranslatedError, LimitError, *MALFORMED) as error:
        raise UsageError(REFUSAL.format(error), where=str(path)) from error


def _found(path: Path, asked: InputSize) -> Found:
    """What `forward` computes, for the first of the inputs that it may have which torch does not refuse."""
    members = archive_members(zip_records(path))
    held = script(path, members)
    root = held.attributes.value
    if not isinstance(root, Record):
        raise UnfollowedError("it holds no module")
    sources = Sources(path=path, members=members)
    sources.check_hooks(root.maker)
    forward = sources.method(root.maker, FORWARD)
    tensors = held.attributes.stored(held.own)
    tensors |= held.constants.stored(held.further) if held.constants is not None else {}
    modules = {id(module): prefix for prefix, module, _ in reversed([*walk(root, children)])}
    refused = list[UnfollowedError]()
    for fed in attempts(forward, asked, tensors, _traced(path, members)):
        for kind in types(tensors)[: 1 if fed.kinds else None]:
            with _noting(refused):
                return _followed(held, sources, modules, (forward, fed, kind))
            if not isinstance(refused[-1].__cause__, RefusedError):
                break
    raise (
        UnfollowedError(f"{refused[0]}{IN_TRAINING}")
        if root.attributes.get("training") is True
        else refused[0]
    )


def _traced(path: Path, members: Mapping[str, ZipRecord]) -> list[torch.Tensor]:
    """What `forward` was traced with, without values; nothing where the file does not say."""
    if TRACED not in members:
        return []
    try:
        held = read_pickle(path, members, TRACED, TRACED.removesuffix(".pkl")).value
    except ConvsvError:
        return []
    inputs = held.get(FORWARD) if isinstance(held, dict) else None
    given = inputs if isinstance(inputs, list) else []
    known = [meta_of(each) for each in given if isinstance(each, Tensor)]
    return known if len(known) == len(given) else []


@contextmanager
def _noting(refused: list[UnfollowedError]) -> Iterator[None]:
    try:
        yield
    except UnfollowedError as error:
        refused.append(error)


def _followed(
    held: Script, sources: Sources, modules: dict[int, str], run: tuple[Function, Fed, torch.dtype]
) -> Found:
    forward, fed, kind = run
    held_names = (*held.own, *held.further)
    taken = {*held_names, *plain_names(held_names).values()}
    calls = Calls(names=Names(taken), version=sources.version())
    stored = Stored(script=held, calls=calls)
    following = Following(
        sources=sources,
        calls=calls,
        attribute=stored.attribute,
        constant=stored.constant,
        literal=stored.literal,
        modules=modules,
    )
    inputs = {}
    for name, shape in fed.shapes.items():
        own = calls.names.new(name)
        inputs[name] = calls.given(own, _input(shape, fed.kinds.get(name, kind)))
    returned = following.function(forward, (held.attributes.value,), inputs, "")
    return Found(
        program=_program(calls, stored, [each.name for each in inputs.values()], returned),
        tensors=stored.tensors,
        assumed=(*fed.assumed, *sorted(following.assumed)),
    )


def _input(shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
    try:
        return torch.empty(shape, dtype=kind, device="meta")
    except (RuntimeError, ValueError) as error:
        raise UnfollowedError("no tensor has such sizes") from error


def _program(calls: Calls, stored: Stored, inputs: list[str], returned: Value) -> Program:
    nodes = tuple(calls.nodes)
    outputs = [each.name for each in tensors_in(returned) if each.name]
    return Program(
        nodes=nodes,
        stored=stored.names,
        inputs=tuple(inputs),
        open={name: (False,) * calls.metas[name].ndim for name in inputs},
        outputs=tuple(outputs),
        shapes={name: tuple(meta.shape) for name, meta in calls.metas.items()},
        dtypes=dict(_kinds(calls)),
        scalars={},
        symbolic=frozenset(),
        makers=makers_of(nodes, stored.names),
        batch=(),
    )


def _kinds(calls: Calls) -> Iterator[tuple[str, int]]:
    for name, meta in calls.metas.items():
        if meta.dtype in EXPORTED:
            yield name, EXPORTED[meta.dtype]
