"""Pickled `nn.Module`s: their named tensors, as `state_dict()` would name them, and what is done with each.

What a module does with a weight is told by the name of its class and by the attributes it was saved with. The
names are only names: a class of the same name could do anything, so only those of torch.nn are believed, and
of others that look like a convolution or a linear layer it is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from convsv_cli import limits
from convsv_cli.errors import UnsafeModelError
from convsv_cli.loaders.checkpoint.containers import Count, checked
from convsv_cli.loaders.checkpoint.values import Record, Tensor
from convsv_cli.loaders.convolution import CONVOLUTION_AXES, NO_AXES, convolution_op, torch_geometry
from convsv_cli.loaders.loader import Usage

MAX_STEPS = 3_000_000
MAX_NAMES = 200_000_000
"""Characters of all modules' names, counted for each thing that they hold."""
Children = Callable[[Record], list[tuple[str, Record]]]
REGISTRIES = ("_modules", "_parameters", "_buffers")
MODULES = ("torch.nn.modules.", "torch.ao.nn.")
_MANGLED = re.compile(r"(^__torch__\.)|(___torch_mangle_\d+\.)")
_EMBEDDING = {"Embedding", "EmbeddingBag"}
_RECURRENT = {"LSTM", "GRU", "RNN"}
EMBEDDING = Usage(
    op="Gather",
    reason="an embedding table: a look-up by integer indices amplifies nothing",
    applicable=False,
)
MISFIT = "its recorded geometry does not fit its weight"
BILINEAR = "a bilinear layer is not linear in its inputs"


def is_module(value: Any) -> TypeGuard[Record]:
    """Whether it is a record with the attributes that every `nn.Module` has."""
    return isinstance(value, Record) and all(isinstance(value.attributes.get(r), dict) for r in REGISTRIES)


def module_tensors(module: Record, count: Count) -> dict[str, Tensor]:
    """Its parameters and buffers and those of the modules below it, depth first.

    Args:
        module: the outermost one.
        count: is told of each step: other modules may hold the same ones.

    Raises:
        UnsafeModelError: more of them than any network has: they contain each other.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, inner, owner in walk(module):
        count(_size(inner))
        for name, tensor in _own(inner):
            tensors[f"{prefix}{name}"] = tensor.used(_usage(owner, prefix, inner, name, tensor))
    return tensors


def walk(root: Record, children: Children | None = None) -> Iterator[tuple[str, Record, Record | None]]:
    """Each module, depth first: name and a dot, itself, and the one whose weight it is a part of, if any.

    Raises:
        UnsafeModelError: as `module_tensors`, or names that are longer than any network's.
    """
    children = children or _children
    waiting: list[tuple[str, Record, Record | None]] = [("", root, None)]
    steps = characters = 0
    most_steps, most_characters = limits.most(MAX_STEPS), limits.most(MAX_NAMES)
    while waiting:
        prefix, module, owner = waiting.pop()
        below = children(module)
        size = _size(module)
        steps += size
        characters += (len(checked(prefix)) + 1) * size
        if steps > most_steps or characters > most_characters:
            raise UnsafeModelError(
                f"its modules contain each other without end: more than {most_steps:,} things, or"
                f" {most_characters:,} characters of their names",
                hint=limits.MORE_OBJECTS,
            )
        yield prefix, module, owner
        waiting += [
            (f"{prefix}{name}.", child, module if name == "parametrizations" else owner)
            for name, child in reversed(below)
        ]


def _size(module: Record) -> int:
    """How many things it holds, itself included."""
    attributes = module.attributes
    return 1 + len(attributes) + sum(len(value) for value in attributes.values() if isinstance(value, dict))


def _children(module: Record) -> list[tuple[str, Record]]:
    modules = module.attributes["_modules"]
    return [(name, child) for name, child in modules.items() if isinstance(name, str) and is_module(child)]


def _own(module: Record) -> Iterator[tuple[str, Tensor]]:
    for registry in ("_parameters", "_buffers"):
        values: Mapping[Any, Any] = module.attributes[registry]
        for name, value in values.items():
            if isinstance(name, str) and isinstance(value, Tensor):
                yield name, value


def _usage(owner: Record | None, prefix: str, module: Record, name: str, tensor: Tensor) -> Usage | None:
    """The usage by the module itself, or by the one of whose weight this is a parametrization's part."""
    if owner is not None:
        module, name = owner, prefix.rpartition("parametrizations.")[2].partition(".")[0]
    return module_usage(plain_class_name(module), module.attributes, name, tensor.shape)


def plain_class_name(module: Record) -> str:
    """The name of its class without what TorchScript adds: torch.nn.modules.conv.Conv2d."""
    return _MANGLED.sub("", module.name)


def module_usage(
    class_name: str, attributes: Mapping[Any, Any], parameter: str, shape: tuple[int, ...]
) -> Usage | None:
    """How a module of that class uses its parameter of that shape; None where it is not known."""
    name = class_name.rpartition(".")[2]
    known = class_name.startswith(MODULES)
    if known and len(shape) == 2 and (op := _matrix_op(name, parameter)):
        return Usage(op=op)
    return _weight_usage(class_name, attributes, shape) if parameter.startswith("weight") else None


def _weight_usage(class_name: str, attributes: Mapping[Any, Any], shape: tuple[int, ...]) -> Usage | None:
    name = class_name.rpartition(".")[2]
    known = class_name.startswith(MODULES)
    if name in _EMBEDDING or _have(attributes, "num_embeddings", "embedding_dim"):
        return EMBEDDING
    if known and name == "Bilinear":
        return Usage(reason=BILINEAR)
    assumed = () if known else (f"it is used as in torch.nn: its class {class_name} was not looked into",)
    if _have(attributes, "stride", "dilation", "groups", "transposed"):
        return convolution_usage(attributes, shape, assumed)
    is_linear = _have(attributes, "in_features", "out_features")
    if len(shape) == 2 and (is_linear or (name == "Conv1D" and attributes.get("nf") == shape[1])):
        return Usage(assumed=assumed)
    return None


def _have(attributes: Mapping[Any, Any], *names: str) -> bool:
    return all(name in attributes for name in names)


def _matrix_op(name: str, parameter: str) -> str:
    """The operator of a class of torch.nn in which this parameter is a matrix; empty for another."""
    if name.removesuffix("Cell") in _RECURRENT and parameter.startswith("weight_"):
        return name.removesuffix("Cell")
    is_attention = name == "MultiheadAttention" and parameter.endswith("_proj_weight")
    is_linear = name.endswith("Linear") and parameter.startswith("weight")
    return "Gemm" if is_attention or is_linear else ""


def convolution_usage(
    attributes: Mapping[Any, Any], shape: tuple[int, ...], assumed: tuple[str, ...] = ()
) -> Usage:
    """A convolution with these attributes of torch's; a reason instead where they fit no such weight."""
    found = torch_geometry(attributes, shape, module=True)
    if found is not None:
        return Usage(geometry=found, assumed=assumed)
    reason = MISFIT if len(shape) - 2 in CONVOLUTION_AXES else NO_AXES.format(len(shape))
    return Usage(op=convolution_op(attributes), reason=reason)
