"""Other values in a JSON document."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

from tests.support.fuzzing.mutations import NUMBERS

VALUES = (
    *NUMBERS, None, True, 1.5, float("nan"), "", "..", "../x", "/dev/zero", "a" * 5000, "F32", "BF16", [], {},
    [0], [0, 0], [2**40, 2**40], [-1], {"a": {}}, [[[[]]]],
)  # fmt: skip

KINDS = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U8",
    "U16",
    "U32",
    "U64",
    "F8_E4M3",
    "F8_E5M2",
)
NAMES = (
    "",
    "weight",
    "a.weight_orig",
    "a.parametrizations.weight.original0",
    "x\x1b[2J",
    "\0",
    "n" * 500,
    "a.bias",
)

PARTS = (
    "lora_A.weight", "lora_B.weight", "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha",
    "dora_scale", "lora_magnitude_vector", "lora_embedding_A", "lora_embedding_B", "hada_w1_a", "hada_w1_b",
    "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", "lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w1_b",
    "lokr_w2_a", "lokr_w2_b", "lokr_t2", "diff", "weight", "down.weight", "lora.up.weight",
    "processor.a_lora.up.weight", "lora_A.x.weight", "oft_blocks", "lora_B.bias",
    "token_adapter.trainable_tokens_delta",
)  # fmt: skip
"""Ends of names in adapters."""


def replaced(document: Any, random: Random) -> Any:
    """The document with one value, or one key, changed, dropped or copied."""
    places = list(_places(document))
    if not places:
        return random.choice(VALUES)
    holder, key = random.choice(places)
    what = random.random()
    if what < 0.5:
        holder[key] = random.choice(VALUES)
    elif what < 0.7:
        other, other_key = random.choice(places)
        holder[key] = json.loads(json.dumps(other[other_key]))
    elif what < 0.85:
        del holder[key]
    elif isinstance(holder, dict):
        holder[str(random.choice(VALUES))] = holder.pop(key)
    else:
        holder.extend(holder[:1] * random.choice((1, 100)))
    return document


def json_value(data: bytes, random: Random) -> bytes:
    try:
        document = json.loads(data)
    except ValueError:
        return data
    return json.dumps(replaced(document, random)).encode()


def plausible(data: bytes, random: Random) -> bytes:
    """Another value of the same type."""
    document = json.loads(data)
    holder, key = random.choice([(h, k) for h, k in _places(document) if not isinstance(h[k], list | dict)])
    value = holder[key]
    if isinstance(value, bool) or value is None:
        holder[key] = random.choice((True, False, None))
    elif isinstance(value, str):
        holder[key] = random.choice((value * 2, value[:1], "", "\x1b[2J", "=1+1", "a" * 1500))
    else:
        holder[key] = random.choice((value * 2, -value, 0, 1, value + 1))
    return json.dumps(document).encode()


def nested(data: bytes, random: Random) -> bytes:
    """Deeper than any parser's stack, or a name twice."""
    if random.random() < 0.5:
        depth = random.choice((100, 5000, 100_000))
        return b'{"a":' * depth + b"1" + b"}" * depth
    return data[:-1] + b"," + data[1:] if data[:1] == b"{" else b"[" * 100_000


def safetensors_header(data: bytes, random: Random) -> bytes:
    """A value in the header, whose length follows."""
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size]
    change = json_value if random.random() < 0.9 else nested
    header = change(header, random)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def safetensors_claim(data: bytes, random: Random) -> bytes:
    """Another name, type or shape for a tensor of as many bytes: the format's own reader accepts it."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = random.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    what = random.randrange(4)
    if what == 0:
        header[random.choice((*NAMES, name + ".weight_g", name[:3] + ".weight_v"))] = header.pop(name)
    elif what == 1:
        entry["dtype"] = random.choice([kind for kind in KINDS if _width(kind) == _width(entry["dtype"])])
    elif what == 2:
        entry["shape"] = random.choice(
            ([*entry["shape"], 1], [1, *entry["shape"]], [math.prod(entry["shape"])])
        )
    else:
        header["__metadata__"] = {random.choice(NAMES): random.choice(NAMES)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def safetensors_part(data: bytes, random: Random) -> bytes:
    """A tensor as another part of an adapter, of the same module or another."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = random.choice([key for key in header if key != "__metadata__"])
    module = random.choice([name, *header]).split(".")[0]
    entry = header.pop(name)
    if random.random() < 0.3:
        count = math.prod(entry["shape"])
        entry["shape"] = random.choice(([count, 1], [1, count], [count, 1, 1, 1], [0, *entry["shape"]], []))
    header[f"{random.choice((module, module, ''))}.{random.choice(PARTS)}"] = entry
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def safetensors_value(data: bytes, random: Random) -> bytes:
    """Other bytes of a value: NaN, infinity, huge or tiny."""
    size = int.from_bytes(data[:8], "little")
    place = 8 + size + 4 * random.randrange(max(1, (len(data) - 8 - size) // 4))
    value = random.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\1\0\0\0", b"\0\0\0\0"))
    return data[:place] + value + data[place + 4 :]


def _width(kind: str) -> str:
    return kind.lstrip("BFUI").partition("_")[0]


def _places(document: Any) -> Any:
    keys = (
        document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    )
    for key in list(keys):
        yield document, key
        yield from _places(document[key])
