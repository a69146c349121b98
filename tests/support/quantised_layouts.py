"""Weights as quantisers store them, packed one code at a time by the letter of each format.

Each gives what is in the file, what is said beside it, and the real values, in float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

State = dict[str, torch.Tensor]
OUT, IN, GROUP = 32, 64, 16
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
NF4 = tuple(np.linspace(-1, 1, 16) ** 3)
"""Any sixteen numbers will do: the file has them."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A weight `a` of a file.

    Attributes:
        state: tensors by name, below "a.".
        real: what they stand for [out, in].
        config: what is said beside the file; None for no such file.
    """

    state: State
    real: torch.Tensor
    config: dict[str, Any] | None = None

    @property
    def named(self) -> State:
        return {f"a.{name}": tensor for name, tensor in self.state.items()}


def drawn(low: int, high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


def scales_of(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5)) * 0.1 + 0.01


def stream(codes: list[int], bits: int, word: int = 32) -> list[int]:
    """Codes one after the other, each bit by itself, in words from the lowest bit on."""
    words = [0] * -(-len(codes) * bits // word)
    for place, code in enumerate(codes):
        for bit in range(bits):
            at = place * bits + bit
            words[at // word] |= (code >> bit & 1) << at % word
    return [value - 2**word if value >= 2 ** (word - 1) else value for value in words]


def rows_packed(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Each row of codes as words of 32 bits."""
    return torch.tensor([stream(row.tolist(), bits) for row in codes], dtype=torch.int32)


def gptq(bits: int, *, version: int = 1, act_order: bool = False, seed: int = 0) -> Layout:
    groups = IN // GROUP
    codes, zeros = drawn(0, 2**bits, OUT, IN, seed=seed), drawn(1, 2**bits, groups, OUT, seed=seed + 1)
    scales = scales_of(groups, OUT).half()
    index = torch.arange(IN) // GROUP
    if act_order:
        index = index[torch.randperm(IN, generator=torch.Generator().manual_seed(2))]
    real = torch.zeros(OUT, IN, dtype=torch.float64)
    for i in range(OUT):
        for j in range(IN):
            g = int(index[j])
            real[i, j] = float(scales[g, i]) * (int(codes[i, j]) - int(zeros[g, i]))
    state = {
        "qweight": rows_packed(codes, bits).T.contiguous(),
        "qzeros": rows_packed(zeros - int(version == 1), bits),
        "scales": scales,
        "g_idx": index.int(),
    }
    form = "gptq" if version == 1 else "gptq_v2"
    config = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": GROUP,
        "desc_act": act_order,
        "checkpoint_format": form,
    }
    return Layout(state=state, real=real, config=config)


def awq() -> Layout:
    groups = IN // GROUP
    codes, zeros = drawn(0, 16, OUT, IN), drawn(0, 16, groups, OUT, seed=1)
    scales = scales_of(groups, OUT).half()

    def packed(columns: torch.Tensor) -> torch.Tensor:
        """Eight codes a word: of a run of eight first the even ones, then the odd ones."""
        order = [start + one for start in range(0, columns.shape[1], 8) for one in (0, 2, 4, 6, 1, 3, 5, 7)]
        return rows_packed(columns[:, order], 4)

    real = torch.zeros(OUT, IN, dtype=torch.float64)
    for i in range(OUT):
        for j in range(IN):
            g = j // GROUP
            real[i, j] = float(scales[g, i]) * (int(codes[i, j]) - int(zeros[g, i]))
    state = {"qweight": packed(codes.T), "qzeros": packed(zeros), "scales": scales}
    config = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}
    return Layout(state=state, real=real, config=config)


def text(said: str) -> torch.Tensor:
    """The bytes of a text."""
    return torch.tensor(list(said.encode()), dtype=torch.uint8)


def bitsandbytes(kind: str, *, twice: bool) -> Layout:
    block, count = 64, OUT * IN
    codes = drawn(0, 16, count).tolist()
    codebook = torch.tensor(NF4, dtype=torch.float32)
    said: dict[str, Any] = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": [OUT, IN]}
    parts: State = {"weight.quant_map": codebook}
    if twice:
        places, outer = drawn(0, 256, count // block), scales_of(-(-count // block // 16))
        inner = torch.linspace(-1, 1, 256)
        said |= {"nested_blocksize": 16, "nested_dtype": "float32", "nested_offset": 0.25}
        parts |= {
            "weight.absmax": places.byte(),
            "weight.nested_absmax": outer,
            "weight.nested_quant_map": inner,
        }
        scales = [float(inner[p]) * float(outer[i // 16]) + 0.25 for i, p in enumerate(places.tolist())]
    else:
        parts |= {"weight.absmax": scales_of(count // block)}
        scales = parts["weight.absmax"].tolist()
    real = [float(codebook[code]) * scales[i // block] for i, code in enumerate(codes)]
    pairs = zip(codes[::2], codes[1::2], strict=True)
    parts["weight"] = torch.tensor([high << 4 | low for high, low in pairs], dtype=torch.uint8)[:, None]
    parts[f"weight.quant_state.bitsandbytes__{kind}"] = torch.tensor(
        list(json.dumps(said).encode()), dtype=torch.uint8
    )
    return Layout(state=parts, real=torch.tensor(real, dtype=torch.float64).reshape(OUT, IN))


def llm_int8() -> Layout:
    codes, largest = drawn(-127, 128, OUT, IN), scales_of(OUT) * 50
    state = {
        "weight": codes.to(torch.int8),
        "SCB": largest,
        "weight_format": torch.tensor(0, dtype=torch.uint8),
    }
    return Layout(state=state, real=codes * largest.double()[:, None] / 127)


def said_by_compressed_tensors(bits: int) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": "int", "group_size": GROUP}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


def compressed(bits: int, *, zero: bool = False, order: bool = False) -> Layout:
    groups, half = IN // GROUP, 2 ** (bits - 1)
    codes, zeros = drawn(0, 2**bits, OUT, IN), drawn(0, 2**bits, OUT, groups, seed=1)
    scales = scales_of(OUT, groups).bfloat16()
    index = torch.arange(IN) // GROUP
    if order:
        index = index[torch.randperm(IN, generator=torch.Generator().manual_seed(2))]
    less = zeros if zero else torch.full_like(zeros, half)
    real = torch.zeros(OUT, IN, dtype=torch.float64)
    for i in range(OUT):
        for j in range(IN):
            g = int(index[j])
            real[i, j] = float(scales[i, g]) * (int(codes[i, j]) - int(less[i, g]))
    state = {
        "weight_packed": rows_packed(codes, bits),
        "weight_scale": scales,
        "weight_shape": torch.tensor([OUT, IN]),
    }
    if zero:
        state["weight_zero_point"] = rows_packed(zeros.T, bits).T.contiguous()
    if order:
        state["weight_g_idx"] = index.int()
    return Layout(state=state, real=real, config=said_by_compressed_tensors(bits))


def unpacked_bytes(*, zero: bool) -> Layout:
    groups = IN // GROUP
    codes, zeros, scales = drawn(-128, 128, OUT, IN), drawn(-9, 9, OUT, groups), scales_of(OUT, groups)
    less = zeros if zero else torch.zeros_like(zeros)
    real = (codes - less.repeat_interleave(GROUP, 1)) * scales.double().repeat_interleave(GROUP, 1)
    state = {"weight": codes.to(torch.int8), "weight_scale": scales}
    if zero:
        state["weight_zero_point"] = zeros.to(torch.int8)
    return Layout(state=state, real=real, config=said_by_compressed_tensors(8))


def fp4(code: int) -> float:
    return -FP4[code & 7] if code & 8 else FP4[code & 7]


def pairs(codes: torch.Tensor) -> torch.Tensor:
    """Two codes a byte, the first one lower."""
    return (codes[..., ::2] | codes[..., 1::2] << 4).to(torch.uint8)


def nvfp4(*, divided: bool) -> Layout:
    codes = drawn(0, 16, OUT, IN)
    scales = (scales_of(OUT, IN // 16) * 1000).to(torch.float8_e4m3fn)
    whole = torch.tensor([0.3])
    real = torch.tensor([[fp4(code) for code in row] for row in codes.tolist()], dtype=torch.float64)
    real = real * scales.double().repeat_interleave(16, 1)
    real = real / whole.double() if divided else real * whole.double()
    names = ("weight_packed", "weight_global_scale") if divided else ("weight", "weight_scale_2")
    return Layout(state={names[0]: pairs(codes), "weight_scale": scales, names[1]: whole}, real=real)


def mxfp4() -> Layout:
    codes, powers = drawn(0, 16, OUT, IN), drawn(120, 132, OUT, IN // 32)
    real = torch.tensor([[fp4(code) for code in row] for row in codes.tolist()], dtype=torch.float64)
    real = real * (2.0 ** (powers - 127.0)).repeat_interleave(32, 1)
    return Layout(state={"weight_packed": pairs(codes), "weight_scale": powers.to(torch.uint8)}, real=real)


def gpt_oss() -> tuple[State, torch.Tensor]:
    """Three experts: tensors by name, and their matrices [3, out, in]."""
    codes, powers = drawn(0, 16, 3, OUT, IN // 32, 32), drawn(120, 132, 3, OUT, IN // 32)
    real = torch.tensor([fp4(code) for code in codes.flatten().tolist()], dtype=torch.float64).reshape(
        codes.shape
    )
    real = (real * 2.0 ** (powers - 127.0)[..., None]).flatten(2)
    return {"e.gate_up_proj_blocks": pairs(codes), "e.gate_up_proj_scales": powers.to(torch.uint8)}, real


def torchao(dtype: torch.dtype, block: tuple[int, int], before: str = "_weight_") -> Layout:
    rows, columns = OUT // block[0], IN // block[1]
    codes, scales, zeros = (
        drawn(-9, 9, OUT, IN).to(dtype),
        scales_of(rows, columns),
        drawn(-3, 3, rows, columns),
    )
    state = {f"{before}qdata": codes, f"{before}scale": scales}
    if dtype == torch.int8:
        state[f"{before}zero_point"] = zeros.to(torch.int8)
    real = torch.zeros(OUT, IN, dtype=torch.float64)
    for i in range(OUT):
        for j in range(IN):
            at = i // block[0], j // block[1]
            less = int(zeros[at]) if dtype == torch.int8 else 0
            real[i, j] = float(scales[at]) * (float(codes[i, j]) - less)
    return Layout(state=state, real=real)


LAYOUTS: dict[str, Callable[[], Layout]] = {
    **{f"GPTQ int{bits}": lambda bits=bits: gptq(bits) for bits in (2, 3, 4, 8)},  # type: ignore[misc]
    "GPTQ int4 v2": lambda: gptq(4, version=2),
    "GPTQ int4 in order": lambda: gptq(4, act_order=True),
    "AWQ int4": awq,
    "nf4": lambda: bitsandbytes("nf4", twice=False),
    "nf4 twice": lambda: bitsandbytes("nf4", twice=True),
    "fp4": lambda: bitsandbytes("fp4", twice=False),
    "LLM.int8()": llm_int8,
    **{f"compressed-tensors int{bits}": lambda bits=bits: compressed(bits) for bits in (2, 3, 4, 5, 8)},  # type: ignore[misc]
    "compressed-tensors int4 zero": lambda: compressed(4, zero=True),
    "compressed-tensors int3 zero": lambda: compressed(3, zero=True),
    "compressed-tensors int4 order": lambda: compressed(4, order=True),
    "compressed-tensors int8 bytes": lambda: unpacked_bytes(zero=False),
    "compressed-tensors int8 bytes zero": lambda: unpacked_bytes(zero=True),
    "NVFP4": lambda: nvfp4(divided=True),
    "NVFP4 of ModelOpt": lambda: nvfp4(divided=False),
    "MXFP4": mxfp4,
    "torchao int8 by rows": lambda: torchao(torch.int8, (1, IN)),
    "torchao int8 in groups": lambda: torchao(torch.int8, (1, 16)),
    "torchao float8_e4m3fn in blocks": lambda: torchao(torch.float8_e4m3fn, (8, 32)),
    "torchao float8_e5m2 at once": lambda: torchao(torch.float8_e5m2, (OUT, IN)),
}
