"""Model files to `Network`s: one module per file format, tried in the order of `LOADERS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convsv_cli.confinement import prepare
from convsv_cli.errors import ConvsvError, UnreadableModelError, UsageError
from convsv_cli.limits import allowing, credit
from convsv_cli.loaders.checkpoint import LOADER as CHECKPOINT
from convsv_cli.loaders.distributed import LOADER as DISTRIBUTED
from convsv_cli.loaders.files import first_to_recognise, head_of, locating, model_file, refusing
from convsv_cli.loaders.foreign import explaining, foreign, not_read
from convsv_cli.loaders.gguf import LOADER as GGUF
from convsv_cli.loaders.loader import Loader, check_network
from convsv_cli.loaders.onnx import LOADER as ONNX
from convsv_cli.loaders.peft import LOADER as PEFT
from convsv_cli.loaders.pt2 import LOADER as PT2
from convsv_cli.loaders.safetensors import LOADER as SAFETENSORS
from convsv_cli.loaders.sharded import LOADER as SHARDED
from convsv_cli.model.network import ADAPTER, InputSize, Network

if TYPE_CHECKING:
    from onnx import ModelProto

    from convsv_cli.model.layer import Layer, UnsupportedLayer

INDEX_KEY = b'"weight_map"'
"""What an index of shards has, which names files beside it, and so is read from a path only."""
LARGEST = 2**31
"""Bytes of a message that protobuf writes."""
PICKLED, SCRIPT = "pickled_module", "torchscript"
NO_ADAPTER = ("no adapter", "--base and --with are for adapters: leave them out")
NO_BASE = ("an adapter itself", "--base takes the model that the adapter was trained on")
EVALUATION = "the pickled module is looked at as in evaluation, without dropout"
LOADERS: tuple[Loader, ...] = (PT2, PEFT, SHARDED, SAFETENSORS, GGUF, DISTRIBUTED, CHECKPOINT, ONNX)


def load(path: str | Path, input_size: InputSize | None = None) -> Network:
    """Read a model file; nothing in it is executed.

    Args:
        path: an ONNX graph, a PyTorch checkpoint, module, TorchScript archive or torch.export program, a
            safetensors or GGUF file, the index of a model in several files, or a folder with one of these.
        input_size: the input size at which layers are to know their own; None: as in the file.

    Raises:
        UnreadableModelError: missing, damaged or not a model.
        UsageError: the network cannot have that input size; the folder has several models.
        UnsafeModelError: a form that convsv refuses to read, or more than any network has.
    """
    with allowing():
        return _read(model_file(Path(path)), input_size or InputSize())


def load_with_graph(path: str | Path, graph: str | Path, input_size: InputSize | None = None) -> Network:
    """The graph of one file with the weights of a checkpoint; nothing in either is executed.

    Args:
        path: a PyTorch checkpoint, module or TorchScript archive, or a safetensors file.
        graph: an ONNX graph, a program of torch.export or a TorchScript archive, with a stored tensor of the
            same name and shape for each of the weights.
        input_size: as in `load`.

    Raises:
        UsageError: one of the files is of another kind, or a weight has no place in the graph.
        UnreadableModelError, UnsafeModelError: as in `load`.
    """
    with allowing():
        return _transplanted(model_file(Path(path)), model_file(Path(graph)), input_size or InputSize())


def load_adapters(
    paths: Sequence[str | Path], base: str | Path | None = None, input_size: InputSize | None = None
) -> Network:
    """Adapters that are active together, with the model that they are added to; nothing in them is executed.

    Args:
        paths: of each, a folder that PEFT saved, or one file with the names of PEFT, Diffusers or Kohya.
        base: a model, as in `load`; None for the updates alone.
        input_size: as in `load`.

    Raises:
        UsageError: one is no adapter, or the base is one.
        UnreadableModelError, UnsafeModelError: as in `load`.
    """
    with allowing():
        files = [model_file(Path(path)) for path in (*paths, *([] if base is None else [base]))]
        return _stacked(files, input_size or InputSize(), with_base=base is not None)


def parts_of(path: Path) -> tuple[Path, ...]:
    """Where the further files are that a model is in; they are not looked at.

    Raises:
        UnreadableModelError, UnsafeModelError: as `load`.
    """
    with allowing():
        return _parts(path)


def recognised(path: Path) -> bool:
    """Whether a file looks like a model of some format."""
    return first_to_recognise(path, LOADERS) is not None


def warm_up(path: Path) -> None:
    """Begin what reading a file of this name needs anyway, and needs no torch."""
    if path.suffix.lower() == ".onnx":
        prepare()


@locating
@explaining
@refusing
def _read(path: Path, input_size: InputSize) -> Network:
    loader = _loader(path)
    network = check_network(loader.load(path, input_size))
    if network.format == SCRIPT:
        from convsv_cli.loaders.torchscript.reading import with_graph

        return with_graph(network, path, input_size)
    if network.format != PICKLED or loader.onnx is None:
        return network
    return chained(network, path, loader.onnx, input_size)


def chained(
    network: Network, path: Path, model: Callable[[Path, InputSize], ModelProto], input_size: InputSize
) -> Network:
    """A pickled module with its graph, where it is a chain of modules that are known; or why it is none."""
    from convsv_cli.loaders.onnx.reading import network_of
    from convsv_cli.loaders.rows import with_keys

    try:
        made = model(path, input_size)
        content = made.SerializeToString() if made.ByteSize() < LARGEST else b""  # reading it changes it
        graph = network_of(made, path, input_size).graph
    except ConvsvError as error:
        return replace(network, no_graph=f"{network.graph_missing}: {error.what}")
    if graph is None:
        return network
    graph = replace(graph, assumed=(*graph.assumed, EVALUATION))
    rows = tuple(with_keys(network.layers, graph))
    return replace(network, layers=rows, graph=graph, executable=(lambda: content) if content else None)


def _stacked(paths: Sequence[Path], input_size: InputSize, *, with_base: bool) -> Network:
    """The last of the paths may be the base's."""
    from convsv_cli.loaders.adapters.base import on_base
    from convsv_cli.loaders.adapters.stack import stacked

    networks = [_read(path, input_size) for path in paths]
    adapters, bases = (networks[:-1], networks[-1:]) if with_base else (networks, [])
    for number, network in enumerate(networks):
        is_base = number >= len(adapters)
        if (network.format == ADAPTER) is is_base:
            what, hint = NO_BASE if is_base else NO_ADAPTER
            raise UsageError(what, where=network.path, hint=hint)
    rows: Iterable[Layer | UnsupportedLayer] = stacked([adapter.layers for adapter in adapters])
    for base in bases:
        rows = on_base(rows, base.layers)
    return replace(
        adapters[0],
        layers=tuple(rows),
        files=tuple(name for network in networks for name in network.files),
        sources=tuple(source for pair in zip(networks, paths, strict=True) for source in _sources(*pair)),
        notes=tuple(dict.fromkeys(note for adapter in adapters for note in adapter.notes)),
        left_out=tuple(dict.fromkeys(note for adapter in adapters for note in adapter.left_out)),
    )


def _sources(network: Network, path: Path) -> Sequence[Path]:
    return network.sources or [path for _ in network.files]


@locating
@refusing
def _parts(path: Path) -> tuple[Path, ...]:
    return tuple(path.parent / part for part in _loader(path).parts(path))


@locating
@explaining
@refusing
def _transplanted(path: Path, graph: Path, input_size: InputSize) -> Network:
    from convsv_cli.loaders.onnx.reading import transplanted

    loader = _loader(path)
    if loader.tensors is None:
        raise UsageError("it has a graph of its own", where=str(path), hint="leave --graph out")
    tensors, parts = loader.tensors(path), loader.parts(path)
    return transplanted(path, tensors, (graph, _graph(graph, input_size)), input_size, parts)


def _graph(path: Path, input_size: InputSize) -> ModelProto:
    """The ONNX model that a file is, or computes; a chain is none: its modules are numbered, not named."""
    from convsv_cli.loaders.torchscript.reading import is_archive, onnx_model

    home = _loader(path)
    if home is CHECKPOINT and is_archive(path):
        return onnx_model(path, input_size)
    if home.onnx is None or home is CHECKPOINT:
        hint = "--graph takes an ONNX export, a program of torch.export, or a TorchScript archive"
        raise UsageError("not a graph", where=str(path), hint=hint)
    return home.onnx(path, input_size)


@locating
def _loader(path: Path) -> Loader:
    credit(path)
    loader = first_to_recognise(path, LOADERS)
    if loader is None:
        head = head_of(path)
        if head.lstrip().startswith(b"{") and INDEX_KEY in head:
            hint = "pass the path of a file that ends in .index.json, beside its shards"
            raise UnreadableModelError("an index of shards is found by its name", hint=hint)
        other = foreign(path.name, head)
        if other is not None:
            raise not_read(other)
        known = "; ".join(each.description for each in LOADERS)
        raise UnreadableModelError("not a model file that convsv reads", hint=f"it reads {known}")
    return loader
