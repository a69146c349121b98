"""A GGUF file, or the parts of one, to named tensors; what llama.cpp does with each by its name.

Names are `blk.0.attn_q.weight`; see gguf-py/gguf/constants.py of llama.cpp. Each matrix is stored by rows, as
PyTorch stores it: `y = W x`, with W [out, in]. A tensor of three axes is a matrix for each expert.

The converter reorders rows of queries and keys for some architectures, which are put back here. Of each head,
Hugging Face's rotary embedding turns row i with row i + n / 2, llama.cpp's row 2 i with row 2 i + 1; so it
puts [2, n / 2] rows as [n / 2, 2] (`LlamaModel.permute` in conversion of llama.cpp). No norm sees that, but a
difference of weights does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from convsv_cli.errors import UnreadableModelError, UsageError
from convsv_cli.loaders.files import SPLIT, locate, locating
from convsv_cli.loaders.gguf.blocks import missing, values
from convsv_cli.loaders.gguf.header import BLOCKS, HINT, Entry, Header, read_header
from convsv_cli.loaders.loader import NamedTensors, StoredTensor, Usage, stacked
from convsv_cli.loaders.mapped import mapped
from convsv_cli.loaders.names import POSITIONS, TABLE, begin_reading
from convsv_cli.model.layer import CONVERTED_ORDER, Geometry

DEQUANTISED = "dequantised weights: {} of GGUF, in float64"
UNKNOWN = "values of {}, which convsv does not know"
RAGGED = "rows of {} entries are no whole number of blocks of {}"
SCALED = "its scale {} is not one number"
MULTIPLIED = "multiplied by its scale {}, as llama.cpp does"
TIED = "the last layer, too: without output.weight, llama.cpp takes the table of tokens for it"
LINEAR = "a linear layer, by what llama.cpp calls it"
STRANGE = "a tensor of {} axes, of which llama.cpp's name does not say what it is"
BIASES = replace(
    TABLE, op="Gather", reason="by its name, a table of biases: looked up and added, it amplifies nothing"
)
_TABLES = re.compile(r"(?:.*\.)?(?:token_embd|token_types|per_layer_token_embd|tok_embd|class_embd)\.weight")
_POSITIONS = re.compile(r"(?:.*\.)?position_embd\.weight")
_BIASES = re.compile(r"(?:.*\.)?attn_rel_b\.weight")
_LOOKED_UP = ((_TABLES, TABLE), (_POSITIONS, POSITIONS), (_BIASES, BIASES))
_LAYER = re.compile(
    r"(?:.*\.)?(?:output|cls|cls\.output|attn_(?:q|k|v|qkv|output|out|gate|[qkv]_[ab]|kv_a_mqa|kv_b)"
    r"|ffn_(?:gate|up|down|gate_inp|(?:gate|up|down|gate_up)_(?:shexp|exps|chexps))|ssm_(?:in|out|x|dt|ba))\.weight"
)
_DEPTHWISE = re.compile(r"(?:.*\.)?ssm_conv1d(?:_[qkv])?\.weight")
_CONVOLUTIONS = re.compile(r"(?:.*\.)?(?:patch_embd|conv1d(?:\.\d+)?|conv\d*)\.weight(?:\.\d+)?")
_ENCODERS = ("bert", "t5encoder", "clip", "embedding", "wavtokenizer")
"""Architectures without a last layer over tokens, by what their name has in it."""
MATRIX, EXPERTS = 2, 3
REORDERED = frozenset((
    "llama", "granite", "granitemoe", "minicpm", "olmo", "internlm2", "xverse", "arcee",
))  # fmt: skip
KEPT = frozenset((
    "bert", "bloom", "command-r", "deepseek2", "falcon", "gemma", "gemma2", "gemma3", "glm4", "gpt-oss",
    "gpt2", "gptneox", "mpt", "nomic-bert", "olmo2", "phi2", "phi3", "qwen", "qwen2", "qwen2moe", "qwen3",
    "qwen3moe", "stablelm", "starcoder2", "t5",
))  # fmt: skip
"""Architectures whose rows are as they were."""
BACK = "rows of queries and keys are put back into the order that they had before conversion"
_TURNED = re.compile(r"blk\.\d+\.attn_([qk])\.weight")


@locating
def tensors_of(path: Path) -> NamedTensors:
    """The tensors of the file and of those that it is split into, each read when its values are asked for.

    Raises:
        UnreadableModelError, UnsafeModelError: as `read_header`; a part is missing, or has what another has.
        UsageError: it is a part other than the first.
    """
    header = read_header(path)
    found = {name: _stored(path, entry) for name, entry in header.tensors.items()}
    parts = parts_of(path)
    if header.pairs.get("split.count", 1 + len(parts)) != 1 + len(parts):
        what = "this is a part of a model, of which its name says something else"
        raise UnreadableModelError(what, hint="give all parts the names that they had")
    for part in parts:
        locate(path, part, "the name of the first part")
        home = path.parent / part
        further = read_header(home).tensors
        twice = found.keys() & further
        if twice:
            raise UnreadableModelError(f"the tensor {min(twice)!r} is in two parts", hint=HINT)
        found |= {name: _stored(home, entry) for name, entry in further.items()}
    begin_reading(sum(map(len, found)), "its tensors")
    return NamedTensors(tensors=_used(_multiplied(found), header), format="gguf", files=parts)


@locating
def parts_of(path: Path) -> tuple[str, ...]:
    """Names of the further parts of a model that is split, of which this is the first.

    Raises:
        UsageError: it is another part.
    """
    match = SPLIT.fullmatch(path.name)
    if match is None:
        return ()
    stem, number, count, suffix = match.groups()
    if int(number) != 1:
        hint = f"pass {stem}-00001-of-{count}{suffix}"
        raise UsageError("this is not the first part of a model", hint=hint)
    return tuple(f"{stem}-{part:05d}-of-{count}{suffix}" for part in range(2, int(count) + 1))


def _stored(path: Path, entry: Entry) -> StoredTensor:
    """The tensor, whose blocks become real numbers when they are read."""
    count, kind = math.prod(entry.shape), entry.type_name
    if entry.length is None:
        block = BLOCKS[entry.type][1] if entry.type in BLOCKS else 0
        why = RAGGED.format(entry.shape[-1], block) if block else UNKNOWN.format(kind)
        return StoredTensor(shape=entry.shape, dtype=kind, read=_nothing, unusable=why)
    if entry.type in BLOCKS:
        return StoredTensor(
            shape=entry.shape,
            dtype="float64",
            scheme=kind,
            read=partial(_blocks, path, entry),
            unusable=missing(kind),
            assumed=(DEQUANTISED.format(kind),),
        )

    def read() -> torch.Tensor:
        return mapped(path, entry.start, count, getattr(torch, kind)).reshape(entry.shape)

    return StoredTensor(shape=entry.shape, dtype=kind, read=read)


def _nothing() -> torch.Tensor:
    raise UnreadableModelError("a tensor without values was read")


def _blocks(path: Path, entry: Entry) -> torch.Tensor:
    kind, length, width = BLOCKS[entry.type]
    stored = mapped(path, entry.start, entry.length or 0, torch.uint8).numpy().reshape(-1, width)
    return torch.from_numpy(values(stored, kind, length)).reshape(entry.shape)


def _multiplied(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors, with `a.scale` times `a.weight`: llama.cpp multiplies what the matrix gives by it."""
    found = dict(tensors)
    for name in tensors:
        scale = name.removesuffix(".weight") + ".scale"
        if name.endswith(".weight") and scale in tensors:
            found[name] = _times(tensors[name], tensors[scale], scale)
            found.pop(scale, None)
    return found


def _times(weight: StoredTensor, scale: StoredTensor, name: str) -> StoredTensor:
    if math.prod(scale.shape) != 1 or scale.fault or weight.fault:
        return replace(weight, unusable=weight.unusable or scale.fault or SCALED.format(name))
    return replace(
        weight,
        read=lambda: weight.read().double() * scale.read().double().reshape(()),
        assumed=(*weight.assumed, MULTIPLIED.format(name)),
    )


def _used(tensors: Mapping[str, StoredTensor], header: Header) -> dict[str, StoredTensor]:
    """The tensors, with what llama.cpp does with each where its name says so."""
    kind = header.pairs.get("general.architecture")
    ties = not any(word in str(kind) for word in _ENCODERS) and "output.weight" not in tensors
    used = {name: _with_use(name, tensor, ties=ties) for name, tensor in tensors.items()}
    return {name: in_order(name, tensor, header.pairs) for name, tensor in used.items()}


def _with_use(name: str, tensor: StoredTensor, *, ties: bool) -> StoredTensor:
    """The tensor, with what is done with it where that is known."""
    axes = len(tensor.shape)
    table = next((usage for pattern, usage in _LOOKED_UP if pattern.fullmatch(name)), None)
    if name == "token_embd.weight" and ties:
        return replace(tensor, usage=Usage(assumed=(TIED,)))
    if axes < MATRIX or table is not None:
        return replace(tensor, usage=table)
    if axes == MATRIX:
        return _matrix(name, tensor)
    if axes == EXPERTS and _LAYER.fullmatch(name):
        return stacked(tensor, assumed=(LINEAR,))
    is_convolution = _CONVOLUTIONS.fullmatch(name)
    return tensor if is_convolution else replace(tensor, usage=Usage(reason=STRANGE.format(axes)))


def _matrix(name: str, tensor: StoredTensor) -> StoredTensor:
    if _DEPTHWISE.fullmatch(name):
        return _depthwise(tensor)
    return replace(tensor, usage=Usage(assumed=(LINEAR,))) if _LAYER.fullmatch(name) else tensor


def _depthwise(tensor: StoredTensor) -> StoredTensor:
    """A convolution [channels, taps], each channel by itself."""
    channels, taps = tensor.shape
    geometry = Geometry(stride=(1,), dilation=(1,), groups=channels)
    shape = channels, 1, taps
    return replace(
        tensor, shape=shape, read=lambda: tensor.read().reshape(shape), usage=Usage(geometry=geometry)
    )


def in_order(name: str, tensor: StoredTensor, pairs: Mapping[str, Any]) -> StoredTensor:
    """The tensor, with its rows in their old order where that is known; else it says that they may not be.

    Args:
        name: of the tensor.
        tensor: as it is stored.
        pairs: keys and values of the file.
    """
    kind, turned = pairs.get("general.architecture"), _TURNED.fullmatch(name)
    if turned is None or kind in KEPT or len(tensor.shape) != 2:
        return tensor
    queries = pairs.get(f"{kind}.attention.head_count")
    keys = pairs.get(f"{kind}.attention.head_count_kv", queries)
    heads, rows = (queries if turned[1] == "q" else keys), tensor.shape[0]
    if kind not in REORDERED or type(heads) is not int or heads < 1 or rows % (2 * heads):
        return replace(tensor, assumed=(*tensor.assumed, CONVERTED_ORDER))

    def read() -> torch.Tensor:
        stored = tensor.read()
        return stored.reshape(heads, rows // heads // 2, 2, -1).transpose(1, 2).reshape(stored.shape)

    return replace(tensor, read=read, assumed=(*tensor.assumed, BACK))
