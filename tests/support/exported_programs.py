"""Modules of PyTorch as programs of torch.export, and as what onnxruntime makes of their translation."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto
from torch import nn

from convsv_cli.loaders.pt2.archive import open_archive, stored_tensors
from convsv_cli.loaders.pt2.program import Program, program
from convsv_cli.loaders.pt2.translation import translated
from convsv_cli.model.network import InputSize


def exported(module: nn.Module, inputs: Sequence[torch.Tensor], path: Path, *, core: bool = False) -> Path:
    """Saved in the dialect of torch.export, or in that of Core ATen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.export.export(module.eval(), tuple(inputs))
        torch.export.save(found.run_decompositions() if core else found, path)
    return path


def as_onnx(module: nn.Module, inputs: Sequence[torch.Tensor], path: Path) -> Path:
    """By torch's older exporter, which takes a tenth of the time of the newer."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), tuple(inputs), path, dynamo=False, opset_version=17)
    return path


def translation(path: Path, asked: InputSize | None = None) -> tuple[Program, ModelProto]:
    """A program, and the ONNX model that it is."""
    archive = open_archive(path)
    found = program(archive.json(f"models/{archive.model}.json"), asked or InputSize())
    return found, translated(found, stored_tensors(archive), path)


def computed(path: Path, inputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """What onnxruntime computes of the translation, its constants in the archive."""
    found, model = translation(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    fed = {name: tensor.numpy() for name, tensor in zip(found.inputs, inputs, strict=True)}
    return list(session.run(None, fed))
