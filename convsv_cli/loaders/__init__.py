"""Model files to `Network`s: one module a file format, tried in the order of `LOADERS`."""

from __future__ import annotations

from pathlib import Path

from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.checkpoint import LOADER as CHECKPOINT
from convsv_cli.loaders.head import read_head
from convsv_cli.loaders.loader import Loader
from convsv_cli.loaders.onnx import LOADER as ONNX
from convsv_cli.loaders.safetensors import LOADER as SAFETENSORS
from convsv_cli.network import InputSize, Network

LOADERS: tuple[Loader, ...] = (CHECKPOINT, SAFETENSORS, ONNX)


def load(path: str | Path, input_size: InputSize | None = None) -> Network:
    """Read a model file; nothing in it is executed.

    Args:
        path: an ONNX graph, a PyTorch state dict or training checkpoint, or a safetensors file.
        input_size: the input size at which layers are to know their own; None: as in the file.

    Raises:
        UnreadableModelError: missing, damaged or not a model.
        UsageError: the network cannot have that input size.
        UnsafeModelError: a form that convsv refuses to read.
    """
    path = Path(path)
    head = read_head(path)
    for loader in LOADERS:
        if loader.recognises(head, path.suffix.lower()):
            return loader.load(path, input_size or InputSize())
    known = "; ".join(loader.description for loader in LOADERS)
    raise UnreadableModelError(
        "not a model file that convsv reads", where=str(path), hint=f"it reads {known}"
    )
