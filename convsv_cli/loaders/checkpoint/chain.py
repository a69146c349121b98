"""A pickled `nn.Sequential` as an ONNX model: its modules one after the other, as in evaluation.

Only modules of torch.nn itself are taken, by the names of their classes, without hooks: what others do is in
code that the file does not hold. A Sequential has no code of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from convsv_cli import limits
from convsv_cli.loaders.checkpoint.contents import Source
from convsv_cli.loaders.checkpoint.modules import is_module
from convsv_cli.loaders.checkpoint.steps import BUILDS, NoChainError, Step
from convsv_cli.loaders.checkpoint.values import Record, Tensor

TORCH = "torch.nn.modules."
SEQUENTIAL = f"{TORCH}container.Sequential"
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
METHODS = ("forward", "_call_impl", "_conv_forward")
PARTS = ("_parameters", "_buffers", "_modules")
PARAMETRISATIONS = "parametrizations"
DEEPEST, MOST = 50, 10_000
INPUT, OUTPUT = "input", "output"
OPSET, IR_VERSION = 20, 10
KINDS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16}
MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What settings raise that are not those of the class."""


def chain_of(contents: Source) -> ModelProto:
    """The model that a pickled Sequential is.

    Args:
        contents: what it is in.

    Raises:
        NoChainError: it holds something else.
        UnsafeModelError, UnreadableModelError: as `Contents.stored`.
    """
    root = contents.value
    if not is_module(root) or root.name != SEQUENTIAL:
        raise NoChainError("only an nn.Sequential needs none")
    _plain(root, "the module")
    chain = Chain(contents)
    chain.follow(root, "", DEEPEST)
    return chain.model()


class Chain:
    """What is written so far.

    Attributes:
        now: the last tensor.
    """

    def __init__(self, contents: Source) -> None:
        self._contents, self._nodes, self._constants = contents, list[NodeProto](), dict[str, TensorProto]()
        self.now, self._shape, self._kind = INPUT, list[int | str](), 0

    def follow(self, module: Record, prefix: str, depth: int) -> None:
        """What a Sequential holds, in order."""
        for name, child in module.attributes["_modules"].items():
            if not (isinstance(name, str) and is_module(child) and depth) or len(self._nodes) > MOST:
                raise NoChainError("a Sequential that holds something else than modules, or too many")
            _plain(child, repr(f"{prefix}{name}"))
            if child.name == SEQUENTIAL:
                self.follow(child, f"{prefix}{name}.", depth - 1)
            else:
                self._add(child, f"{prefix}{name}")

    def model(self) -> ModelProto:
        """All of it."""
        if not self._shape or not self._kind:
            raise NoChainError("nothing in it says what its input is")
        self._nodes.append(helper.make_node("Identity", [self.now], [OUTPUT], name=OUTPUT))
        graph = helper.make_graph(
            self._nodes,
            "chain",
            [helper.make_tensor_value_info(INPUT, self._kind, self._shape)],
            [helper.make_tensor_value_info(OUTPUT, self._kind, None)],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def _add(self, module: Record, name: str) -> None:
        build = BUILDS.get(module.name.removeprefix(TORCH)) if module.name.startswith(TORCH) else None
        if build is None:
            raise NoChainError(f"{name!r} is a {module.name}, of which convsv does not know what it does")
        try:
            build(Step(self, module, name))
        except MALFORMED as error:
            raise NoChainError(f"the settings of {name!r} are none of its class") from error
        except limits.LimitError as error:
            raise NoChainError(str(error)) from error

    def emit(self, name: str, op: str, *more: str, **attributes: Any) -> None:
        """A node after the last one, with further inputs."""
        result = f"{name}/{op}/{len(self._nodes)}"
        given = {key: value for key, value in attributes.items() if value is not None}
        self._nodes.append(
            helper.make_node(op, [self.now, *more], [result], name=f"{name}/{len(self._nodes)}", **given)
        )
        self.now = result

    def turned(self, weight: str) -> str:
        """A stored matrix with its axes swapped."""
        result = f"{weight}/turned"
        self._nodes.append(helper.make_node("Transpose", [weight], [result], name=result, perm=[1, 0]))
        return result

    @property
    def dtype(self) -> str:
        """Of its numbers, as NumPy calls it."""
        return next((name for name, kind in KINDS.items() if kind == self._kind), "float32")

    def begin(self, shape: Sequence[int | str]) -> None:
        """The first module that says so tells the shape of the input."""
        self._shape = self._shape or list(shape)

    def constant(self, name: str, values: np.ndarray) -> str:
        """A stored tensor of these values."""
        self._constants[name] = numpy_helper.from_array(values, name)
        return name

    def stored(self, name: str, tensor: Tensor) -> str:
        """A tensor of the file, by its name there."""
        found = self._contents.stored({name: tensor})[name]
        if found.unusable or found.dtype not in KINDS:
            raise NoChainError(f"{name!r} cannot be read: {found.unusable or found.dtype}")
        limits.hold(16 * math.prod(found.shape), "the weights of a chain")
        self._kind = self._kind or KINDS[found.dtype]
        return self.constant(name, found.read().contiguous().to(torch.float64).numpy().astype(found.dtype))


def _plain(module: Record, said: str) -> None:
    """See that a module is what its class makes of its parts."""
    own = module.attributes
    if any(own.get(hooks) for hooks in HOOKS):
        raise NoChainError(f"{said} has hooks, whose code the file does not hold")
    if PARAMETRISATIONS in own["_modules"]:
        raise NoChainError(f"{said} has a weight that is parametrised")
    parts = {name for parts in PARTS if isinstance(own.get(parts), dict) for name in own[parts]}
    replaced = [name for name in own if name in METHODS or name in parts]
    if replaced:
        raise NoChainError(f"{said} has {replaced[0]!r} in place of what its class has")
