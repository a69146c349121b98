"""The models of ONNX's backend suite, as they are shipped and as networks hold such nodes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "light")
FLOATS = frozenset((TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16))


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A model with an input of each of its inputs' types.

    Attributes:
        name: of the case, and its kind.
        model: with its weights; nothing of it is downloaded.
        fed: by input; a sequence is a list, None an optional one that is empty.
    """

    name: str
    model: ModelProto
    fed: dict[str, Any]

    def stored(self) -> Shipped | None:
        """The first real input varies and all others are stored, as in a network; None for no other way."""
        moving = next((i for i in self.model.graph.input if is_real(i.type) and i.name in self.fed), None)
        rest = {k: v for k, v in self.fed.items() if moving is not None and k != moving.name}
        if not rest or not all(isinstance(value, np.ndarray | np.generic) for value in rest.values()):
            return None
        model = ModelProto()
        model.CopyFrom(self.model)
        kept = [i for i in model.graph.input if i.name not in rest]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(v), k) for k, v in rest.items() if k
        )
        fed = {k: v for k, v in self.fed.items() if k not in rest}
        return Shipped(name=f"{self.name}, stored", model=model, fed=fed)


def is_real(kind: onnx.TypeProto) -> bool:
    """Whether it is of real numbers, or sequences or optional ones of such."""
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        return kind.tensor_type.elem_type in FLOATS
    if which in ("sequence_type", "optional_type"):
        return is_real(getattr(kind, which).elem_type)
    return False


def shipped(kinds: Sequence[str] = KINDS) -> Iterator[Shipped]:
    """Every model that is on disk, or made by onnx."""
    for kind in kinds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # onnx makes some inputs by casts that overflow
            cases = load_model_tests(kind=kind)
        for case in cases:
            if case.model is not None:
                inputs, _ = case.data_sets[0]
                yield Shipped(name=f"{case.name} ({kind})", model=case.model, fed=_named(case.model, inputs))
            elif case.model_dir:
                folder = Path(case.model_dir)
                model = onnx.load(folder / "model.onnx", load_external_data=False)
                yield Shipped(name=f"{case.name} ({kind})", model=model, fed=_read(model, folder))


def _named(model: ModelProto, values: Sequence[Any]) -> dict[str, Any]:
    stored = {tensor.name for tensor in model.graph.initializer}
    open_ = [value.name for value in model.graph.input if value.name not in stored]
    if len(values) != len(open_):
        open_ = [value.name for value in model.graph.input]
    return dict(zip(open_, values, strict=False))


def _read(model: ModelProto, folder: Path) -> dict[str, Any]:
    """What is fed, from its files; nothing where they are of no kind that is known."""
    found = []
    for value, path in zip(
        model.graph.input, sorted((folder / "test_data_set_0").glob("input_*.pb")), strict=False
    ):
        if value.type.WhichOneof("value") == "tensor_type":
            tensor = TensorProto()
            tensor.ParseFromString(path.read_bytes())
            found.append(numpy_helper.to_array(tensor))
        elif value.type.WhichOneof("value") == "sequence_type":
            sequence = onnx.SequenceProto()
            sequence.ParseFromString(path.read_bytes())
            found.append(numpy_helper.to_list(sequence))
        else:
            optional = onnx.OptionalProto()
            optional.ParseFromString(path.read_bytes())
            found.append(numpy_helper.to_optional(optional))
    return _named(model, found)
