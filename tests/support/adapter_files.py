"""Adapters written by the layouts that PEFT, Diffusers, Kohya and LyCORIS document, and what they mean.

Nothing here is convsv's: arrays are drawn, multiplied by numpy by the formulas of the papers, and saved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float32]
TORCH = "base_model.model."
CONFIG: Mapping[str, Any] = {
    "auto_mapping": None,
    "base_model_name_or_path": "../../../etc/passwd",
    "bias": "none",
    "fan_in_fan_out": False,
    "init_lora_weights": True,
    "lora_dropout": 0.0,
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q"],
    "use_rslora": False,
}
"""What PEFT writes, as far as it is about updates."""


def drawn(*shape: int, seed: int = 0) -> Array:
    """Normal numbers, the same each time."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def peft_folder(folder: Path, tensors: Mapping[str, Array], **config: Any) -> Path:
    """A folder as PEFT saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    save_file({TORCH + name: value for name, value in tensors.items()}, folder / "adapter_model.safetensors")
    return folder


def single_file(path: Path, tensors: Mapping[str, Array], **metadata: str) -> Path:
    """One file, with names as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), path, metadata or None)
    return path


def circular_norm(kernel: Array, size: int = 48) -> float:
    """The norm of a matrix, or of a convolution on so large a circle, that is nearly its norm anywhere."""
    kernel = np.asarray(kernel, np.float64)
    if kernel.ndim == 2:
        return float(np.linalg.norm(kernel, 2))
    axes = kernel.ndim - 2
    symbol = np.moveaxis(np.fft.fftn(kernel, (size,) * axes, range(2, kernel.ndim)), (0, 1), (-2, -1))
    return float(np.linalg.norm(symbol, 2, axis=(-2, -1)).max())


def product(left: Array, right: Array) -> Array:
    """A B, of float32 arrays, in float64."""
    return np.asarray(left, np.float64) @ np.asarray(right, np.float64)


def lora(down: Array, up: Array, mid: Array | None = None) -> Array:
    """B A, with all taps in A or in a core between both."""
    a, b = np.asarray(down, np.float64), np.asarray(up, np.float64).reshape(up.shape[:2])
    if mid is None:
        return np.tensordot(b, a, 1)
    return np.einsum("pi,ijkl,jr->prkl", b, np.asarray(mid, np.float64), a.reshape(a.shape[:2]))


def cored(core: Array, a: Array, b: Array) -> Array:
    """LyCORIS' `t`, [r, r, k, l], between the transposed `w_a` and `w_b`."""
    return np.einsum("ijkl,ip,jr->prkl", *(np.asarray(each, np.float64) for each in (core, a, b)))


def loha(w1a: Array, w1b: Array, w2a: Array, w2b: Array, *cores: Array) -> Array:
    """Entry by entry the product of two products."""
    if cores:
        return cored(cores[0], w1a, w1b) * cored(cores[1], w2a, w2b)
    return product(w1a, w1b) * product(w2a, w2b)


def lokr(outer: Array, inner: Array) -> Array:
    """The Kronecker product of channels."""
    outer, inner = np.asarray(outer, np.float64), np.asarray(inner, np.float64)
    return np.kron(outer.reshape(*outer.shape, *(1,) * (inner.ndim - 2)), inner)
