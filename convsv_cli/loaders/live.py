"""PyTorch modules in memory to `Network`s: as their files would be read, and named after their class."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto
from torch import nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks
from torch.nn.parameter import is_lazy

from convsv_cli.errors import UsageError
from convsv_cli.limits import allowing, credit_held
from convsv_cli.loaders import chained, load
from convsv_cli.loaders.checkpoint.memory import Memory
from convsv_cli.loaders.checkpoint.reading import chain_in
from convsv_cli.loaders.checkpoint.reading import unwrapped as tensors_of
from convsv_cli.loaders.loader import check_network
from convsv_cli.loaders.state_dict import network_of
from convsv_cli.model.network import InputSize, Network
from convsv_cli.torch_modules.modules import evaluating, unwrapped

Example = torch.Tensor | tuple[Any, ...] | Mapping[str, Any]
"""What a module is called with: its only argument, all by position, or all by name."""
FORMAT = "module"
NOT_EXPORTED = "torch.export does not follow this module: {}"
HINT = "pass an example_input that it can be called with, or leave it out to audit the layers alone"
KEEPS_CACHE = "ask it for no cache: {..., 'use_cache': False}"
NO_LAYERS = "pass a module that has weights"


@contextmanager
def network_in_memory(
    module: nn.Module, example: Example | None = None, input_size: InputSize | None = None
) -> Iterator[Network]:
    """The layers of a module as in evaluation, and what it computes where an example says on what.

    Without an example only an `nn.Sequential` has a graph. Nothing but the module's own code is run; the
    module is as it was when this ends, and its weights must not change before.

    Args:
        module: any, or one in a wrapper of torch's.
        example: inputs that torch.export follows it with, of the shapes that the network is bounded for.
        input_size: at which layers are to know their own, where there is no example.

    Raises:
        UsageError: no weights; or the module cannot be called with the example.
    """
    inner = unwrapped(module)
    with allowing():
        tensors = filter(_has_size, inner.state_dict(keep_vars=True).values())
        credit_held(sum(each.numel() * each.element_size() for each in tensors))
        if example is None:
            yield _layers_alone(inner, input_size or InputSize())
        else:
            with tempfile.TemporaryDirectory(prefix="convsv-") as folder:
                network = load(_exported(inner, example, Path(folder)))
                yield _named(inner, network)


def _layers_alone(module: nn.Module, size: InputSize) -> Network:
    memory, path = Memory(module), Path(type(module).__name__)
    network = check_network(
        network_of(path, size, lambda _: tensors_of(memory.value, memory.stored), NO_LAYERS)
    )
    return _named(module, chained(network, path, lambda *_: _chain(memory), size))


def _chain(memory: Memory) -> ModelProto:
    if _global_forward_hooks or _global_forward_pre_hooks:
        raise UsageError("hooks of all modules, whose code convsv does not follow")
    return chain_in(memory)


def _exported(module: nn.Module, example: Example, folder: Path) -> Path:
    """The program that it is, in a file."""
    arguments = example if isinstance(example, tuple) else () if isinstance(example, Mapping) else (example,)
    keywords = dict(example) if isinstance(example, Mapping) else {}
    path = folder / "module.pt2"
    try:
        with evaluating(module), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of recurrent modules of its own
            program = torch.export.export(module, arguments, keywords)
            program.example_inputs = None  # of which only the shapes matter
            torch.export.save(program, path)
    except Exception as error:
        line = str(error).strip().partition("\n")[0] or type(error).__name__
        said = re.split(r"\. (?=[A-Z])", line)[0]
        hint = KEEPS_CACHE if "cache_utils" in said else HINT  # of transformers
        raise UsageError(NOT_EXPORTED.format(said), where=type(module).__name__, hint=hint) from error
    return path


def _named(module: nn.Module, network: Network) -> Network:
    """The network of no file."""
    return replace(network, path=type(module).__name__, format=FORMAT, files=(), sources=(), no_graph="")


def _has_size(value: Any) -> bool:  # noqa: ANN401  (modules keep what they like as their extra state)
    return isinstance(value, torch.Tensor) and not is_lazy(value)
