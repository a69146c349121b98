"""Both of torch's exporters, and the bounds of what they write."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from convsv_cli.report import NetworkBound

EXPORTERS = {"dynamo": True, "script": False}


def export(net: nn.Module, inputs: tuple[Tensor, ...], path: Path, *, dynamo: bool, opset: int) -> str:
    """Write a network as ONNX; why not, where that does not work, else an empty string.

    Args:
        net, inputs: in evaluation mode, and what it is traced with.
        path: of the file.
        dynamo: by the exporter of today, else by that of TorchScript.
        opset: that is asked for; the exporter may leave the file at another one.
    """
    options = {"dynamo": dynamo, "opset_version": opset, "verbose": False, "external_data": False}
    with warnings.catch_warnings(), _silence():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(net, inputs, path, **options)
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return ""


@contextmanager
def _silence() -> Iterator[None]:
    """For the exporters, which print whole graphs, some of them past `sys.stdout`."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def opset_of(path: Path) -> int:
    """Of the default domain, that the file really has."""
    model = onnx.load(path, load_external_data=False)
    return next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))


def bound_of(path: Path, box: tuple[float, float] | None = None) -> NetworkBound | str:
    """As an audit gives it at no search's expense; its message where there is none.

    Args:
        path: the ONNX file.
        box: `--input-range`.
    """
    from convsv_cli import audit
    from convsv_cli.errors import ConvsvError

    try:
        return audit(path, input_range=box, network_effort="quick").bound
    except ConvsvError as error:
        return f"error: {error}"
