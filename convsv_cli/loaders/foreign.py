"""Formats of models that convsv does not read: what they are, and what to audit instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from convsv_cli.errors import UnreadableModelError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A format that others read.

    Attributes:
        name: what to call it.
        suffixes: endings of such files, lower case.
        signature: a regular expression of how they begin; one that matches nothing where that tells nothing.
        instead: what to do.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    signature: bytes = rb"(?!)"
    instead: str


SOURCE = "audit the ONNX file or the checkpoint that it was made from"
FORMATS = (
    Foreign(
        name="a file of llama.cpp from before GGUF",
        suffixes=(".ggml",),
        signature=rb"ggjt|lmgg|tjgg",
        instead="convert the model again, to GGUF",
    ),
    Foreign(
        name="a Keras model",
        suffixes=(".h5", ".hdf5", ".keras"),
        signature=rb"\x89HDF\r\n",
        instead='export it in Keras: model.export("model.onnx", format="onnx")',
    ),
    Foreign(
        name="a TensorFlow Lite model",
        suffixes=(".tflite", ".lite"),
        signature=rb"(?s:.{4})TFL3",
        instead="python -m tf2onnx.convert --tflite FILE --output model.onnx",
    ),
    Foreign(
        name="a TensorFlow graph",
        suffixes=(".pb",),
        instead="python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
    ),
    Foreign(name="a Core ML model", suffixes=(".mlmodel", ".mlpackage", ".mlmodelc"), instead=SOURCE),
    Foreign(
        name="a TensorRT engine",
        suffixes=(".engine", ".plan", ".trt"),
        signature=rb"ftrt|ptrt",
        instead=SOURCE,
    ),
    Foreign(
        name="a model of ONNX Runtime's own format",
        suffixes=(".ort",),
        signature=rb"(?s:.{4})ORTM",
        instead=SOURCE,
    ),
    Foreign(name="an OpenVINO model", suffixes=(".xml",), instead=SOURCE),
    Foreign(
        name="a PaddlePaddle model",
        suffixes=(".pdmodel", ".pdiparams", ".pdparams"),
        instead="convert it with paddle2onnx",
    ),
    Foreign(
        name="a file of Flax",
        suffixes=(".msgpack",),
        instead="save its parameters with safetensors.flax.save_file",
    ),
    Foreign(
        name="an archive of NumPy arrays",
        suffixes=(".npz",),
        instead="save its arrays with safetensors.numpy.save_file",
    ),
    Foreign(
        name="a part of a distributed checkpoint by itself",
        suffixes=(".distcp",),
        instead="audit its folder, where .metadata says what the parts hold",
    ),
    Foreign(
        name="a compressed archive",
        signature=rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z",
        instead="unpack it",
    ),
)


def foreign(name: str, head: bytes = b"") -> Foreign | None:
    """The format of a file, by how its name ends or by how it begins."""
    suffix = Path(name).suffix.lower()
    return next((each for each in FORMATS if suffix in each.suffixes or re.match(each.signature, head)), None)


def not_read(found: Foreign) -> UnreadableModelError:
    """The error that says so."""
    return UnreadableModelError(f"this is {found.name}, which convsv does not read", hint=found.instead)


def explaining(function: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """The function, which says of a file whose name is that of a foreign format that it is one.

    The content decides first: a model that can be read is read, whatever it is called.
    """

    @wraps(function)
    def explained(path: Path, /, *args: P.args, **keywords: P.kwargs) -> T:
        try:
            return function(path, *args, **keywords)
        except UnreadableModelError as error:
            found = foreign(path.name)
            if found is None or not path.is_file():
                raise
            raise not_read(found) from error

    return explained
