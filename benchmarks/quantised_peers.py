"""Quantised weights as their own libraries dequantise them: `python -m benchmarks.quantised_peers`.

Each library quantises a matrix and saves it; convsv reads the file. Printed are the largest difference of an
entry, relative to the largest one (the libraries compute in float32 or less), and that of the spectral norm.
A library that is not installed is left out. Tested with bitsandbytes 0.50.2, compressed-tensors 0.20.1, gguf
0.19.0 and torchao 0.18.0, all on a CPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from convsv_cli import audit, load
from convsv_cli.model.layer import Layer

SHAPE = (256, 512)
FLOAT8 = {"num_bits": 8, "type": "float"}
FLOAT4 = {"num_bits": 4, "type": "float"}
PACKED = {bits: ("pack-quantized", {"num_bits": bits, "group_size": 128}) for bits in (2, 3, 4, 5, 6, 8)}
COMPRESSED = {
    **{f"int{bits} packed": case for bits, case in PACKED.items()},
    "int4 channel": ("pack-quantized", {"num_bits": 4, "strategy": "channel"}),
    "int4 asymmetric": ("pack-quantized", {"num_bits": 4, "group_size": 64, "symmetric": False}),
    "int3 asymmetric": ("pack-quantized", {"num_bits": 3, "group_size": 64, "symmetric": False}),
    "int8": ("int-quantized", {"num_bits": 8, "strategy": "channel"}),
    "int8 asymmetric": ("int-quantized", {"num_bits": 8, "strategy": "channel", "symmetric": False}),
    "int8 group": ("int-quantized", {"num_bits": 8, "group_size": 128}),
    "fp8": ("float-quantized", {**FLOAT8, "strategy": "channel"}),
    "fp8 tensor": ("float-quantized", {**FLOAT8, "strategy": "tensor"}),
    "fp8 group": ("float-quantized", {**FLOAT8, "group_size": 64}),
    "fp8 block": ("float-quantized", {**FLOAT8, "strategy": "block", "block_structure": [128, 128]}),
    "nvfp4": ("nvfp4-pack-quantized", {**FLOAT4, "group_size": 16, "strategy": "tensor_group"}),
    "mxfp4": ("mxfp4-pack-quantized", {**FLOAT4, "group_size": 32}),
    "mxfp8": ("mxfp8-quantized", {**FLOAT8, "group_size": 32, "scale_dtype": "torch.uint8"}),
}
"""Formats of compressed-tensors, and what they are told of a weight."""
Case = tuple[str, Path, torch.Tensor]


def matrix(seed: int = 0) -> torch.Tensor:
    """The matrix that is quantised [out, in]."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * 0.02


def saved(folder: Path, tensors: dict[str, torch.Tensor], config: object = None) -> Path:
    """A safetensors file, with what is said of it beside it."""
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    return folder / "model.safetensors"


def bitsandbytes(folder: Path) -> Iterator[Case]:
    """Four bits of both kinds, with and without scales in eight bits, and LLM.int8()."""
    from bitsandbytes import functional

    for kind in ("nf4", "fp4"):
        for twice in (False, True):
            codes, state = functional.quantize_4bit(
                matrix(), quant_type=kind, compress_statistics=twice, blocksize=64
            )
            real = functional.dequantize_4bit(codes, state)
            parts = {f"a.weight.{name}": part for name, part in state.as_dict(packed=True).items()}
            name = f"{kind}{' twice' * twice}"
            yield name, saved(folder / name, {"a.weight": codes, **parts}), real
    codes, scales, _ = functional.int8_vectorwise_quant(matrix().half())
    real = functional.int8_vectorwise_dequant(codes, scales)
    yield "int8", saved(folder / "int8", {"a.weight": codes, "a.SCB": scales}), real


def compressed_tensors(folder: Path) -> Iterator[Case]:
    """Each of its formats that keeps all values."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, QuantizationStrategy

    for name, (form, said) in COMPRESSED.items():
        args = QuantizationArgs(**said)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        compressor = BaseCompressor.get_value_from_registry(form)
        whole = args.strategy == QuantizationStrategy.TENSOR_GROUP
        state = {"weight": matrix(), **_scales(args, whole=whole)}
        made = compressor.compress(state, scheme)
        real = compressor.decompress({key: part.clone() for key, part in made.items()}, scheme)["weight"]
        if whole:  # which the library multiplies in bfloat16
            codes = unpack_fp4_from_uint8(made["weight_packed"], *SHAPE, torch.float64)
            spread = made["weight_scale"].double().repeat_interleave(16, 1)
            real = codes * spread / made["weight_global_scale"].double()
        config = {
            "quant_method": "compressed-tensors",
            "format": form,
            "config_groups": {"group_0": json.loads(scheme.model_dump_json())},
        }
        tensors = {f"a.{key}": part for key, part in made.items() if part is not None}
        yield f"compressed-tensors {name}", saved(folder / f"ct {name}", tensors, config), real


def _scales(args: object, *, whole: bool) -> dict[str, torch.Tensor]:
    """Scales and zero points of the matrix, as its observers would find them, roughly."""
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    rows, columns = SHAPE
    strategy, size = args.strategy, args.group_size  # type: ignore[attr-defined]
    view = {
        "tensor": matrix().reshape(1, 1, -1),
        "channel": matrix()[:, None],
        "block": matrix().reshape(rows // 128, 128, columns // 128, 128).transpose(1, 2).flatten(2),
    }.get(str(getattr(strategy, "value", strategy)), matrix().reshape(rows, -1, size or columns))
    low, high = view.amin(-1), view.amax(-1)
    single = generate_gparam(matrix().min(), matrix().max()) if whole else None
    scale, zero = calculate_qparams(low, high, args, global_scale=single)
    found = {"weight_scale": scale, "weight_zero_point": zero}
    if strategy == "tensor":
        found = {name: part.reshape(1) for name, part in found.items()}
    return found if single is None else {**found, "weight_global_scale": single.reshape(1)}


def gguf(folder: Path) -> Iterator[Case]:
    """The types that the library quantises to."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    for kind in GGMLQuantizationType:
        try:
            codes = quants.quantize(matrix().numpy(), kind)
        except NotImplementedError:
            continue
        path = folder / f"{kind.name}.gguf"
        writer = GGUFWriter(path, "llama")
        writer.add_tensor("blk.0.ffn_up.weight", codes, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        yield f"gguf {kind.name}", path, torch.from_numpy(quants.dequantize(codes, kind).copy())


def torchao(folder: Path) -> Iterator[Case]:
    """The types that it makes on a CPU, in safetensors and in checkpoints."""
    from torchao import quantization
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

    kinds = {
        "int8": quantization.Int8WeightOnlyConfig(version=2),
        "int4 in groups": quantization.IntxWeightOnlyConfig(
            weight_dtype=torch.int4, granularity=quantization.PerGroup(32)
        ),
        "float8": quantization.Float8WeightOnlyConfig(),
    }
    for name, config in kinds.items():
        layer = torch.nn.Linear(*SHAPE[::-1], bias=False)
        layer.weight.data = matrix()
        model = torch.nn.Sequential(layer)
        quantization.quantize_(model, config)
        state = model.state_dict()
        real = state["0.weight"].dequantize()
        torch.save(state, folder / f"{name}.pt")
        yield f"torchao {name} (.pt)", folder / f"{name}.pt", real
        tensors, metadata = flatten_tensor_state_dict(state)
        save_file(tensors, folder / f"{name}.safetensors", metadata=metadata)
        yield f"torchao {name} (.safetensors)", folder / f"{name}.safetensors", real


def main() -> int:
    """1 where a norm differs by more than 1e-6 of it."""
    bad = 0
    makers: tuple[Callable[[Path], Iterator[Case]], ...] = (gguf, bitsandbytes, compressed_tensors, torchao)
    for maker in makers:
        with TemporaryDirectory() as folder:
            try:
                for name, path, real in maker(Path(folder)):
                    bad += not _compared(name, path, real)
            except ImportError as error:
                print(f"{maker.__name__}: left out ({error})")
    return 1 if bad else 0


def _compared(name: str, path: Path, real: torch.Tensor) -> bool:
    (row,) = load(path).layers
    if not isinstance(row, Layer):
        print(f"{name:32} no row: {row.reason}")
        return False
    found, wanted = row.read().double(), real.double()
    entry = float((found - wanted).abs().max() / wanted.abs().max())
    (measured,) = audit(path, tolerance=1e-7).layers
    enclosure = measured.measurement("certified").enclosure
    norm = float(torch.linalg.matrix_norm(wanted, 2))
    off = max(enclosure.lower - norm, norm - enclosure.upper, 0) / norm
    print(f"{name:32} {row.dtype:28} entry {entry:.1e}  norm {norm:.6f}, outside its enclosure by {off:.1e}")
    return off <= 1e-6


if __name__ == "__main__":
    sys.exit(main())
