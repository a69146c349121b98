"""Checkpoints: what pickles share is small, however often it is asked for."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.pickles import Claim, archive, module_class, pickled, text
from tests.support.small_files.small_file import AUDITED, BROKEN, INCOMPLETE, UNSAFE, SmallFile

MANY = 100_000
PROTO, END = b"\x80\x04", b"."
PUT, GET = b"q\xc8", b"h\xc8"
DOUBLING = b")" + b"q\x000h\x00h\x00\x86" * 60
"""A tuple of two that are the same tuple of two, 60 deep."""
WEIGHT = pickled(Claim())[2:-1]
STATE = b"}" + text("conv.weight") + WEIGHT + b"s"
LONG = text("k" * 400_000)


def _saved(folder: Path, data: bytes) -> Path:
    return archive(folder / "model.pt", PROTO + data + END)


def _legacy(folder: Path, data: bytes, keys: bytes) -> Path:
    """As torch.save wrote it before 1.6: magic number, version, machine, value, keys of the storages."""
    head = pickled(0x1950A86A20F9469CFC6C) + pickled(1001) + pickled({})
    (folder / "model.pt").write_bytes(head + PROTO + data + END + PROTO + keys + END)
    return folder / "model.pt"


def _beside(folder: Path, data: bytes) -> Path:
    """A network, and beside it a list of what else there is."""
    return _saved(folder, b"}" + text("model") + STATE + b"s" + text("more") + data + b"s")


def _calls(folder: Path, *, maker: str, argument: bytes, before: bytes = b"", after: bytes = b"") -> Path:
    """One function called again and again on one list of as many things."""
    shared = b"](" + argument * MANY + b"e" + PUT + b"0"
    function = f"c{maker}\n".replace(" ", "\n").encode() + b"q\xc90"
    call = b"h\xc9" + before + GET + after + b"\x85R0"
    return _beside(folder, shared + function + call * MANY + b"N")


def _sparse(folder: Path) -> Path:
    shared = b"](" + b")" * MANY + b"e" + PUT + b"0"
    values = WEIGHT + b"q\xca0"
    function = b"ctorch._utils\n_rebuild_sparse_tensor\nq\xc90"
    data = b"](" + b")" * MANY + b"h\xcae" + PUT + b"0"
    return _beside(folder, values + shared + data + function + b"h\xc9Nh\xc8\x86R0" * 60_000 + b"N")


def _parameters(folder: Path) -> Path:
    """Parameters that all have one large dict of attributes."""
    state = b"}(" + b"".join(b"J" + struct.pack("<i", 300 + i) + b"N" for i in range(25_000)) + b"u" + PUT
    function = b"ctorch._utils\n_rebuild_parameter_with_state\nq\xc90"
    call = b"(h\xcaNNh\xc8tR0"
    return _beside(
        folder, state + b"0" + function + WEIGHT + b"q\xca0" + b"h\xc9" + (call + b"h\xc9") * 40_000
    )


def _attributes(folder: Path) -> Path:
    """Parameters that all have one dict of attributes whose names are of many words."""
    state = b"}(" + b"".join(text("a." * 8 + f"{i}") + b"N" for i in range(9_000)) + b"u" + PUT + b"0"
    function = b"ctorch._utils\n_rebuild_parameter_with_state\nq\xc90" + WEIGHT + b"q\xca0"
    return _beside(folder, state + function + b"h\xc9(h\xca\x89Nh\xc8tR0" * 300 + b"N")


def _numbers(folder: Path) -> Path:
    """Weights of few bits, and numbers that could scale them, below a path of many words."""
    numbers = b"".join(b"J" + struct.pack("<i", 300 + i) + b"K\x01" for i in range(MANY))
    weight = pickled(Claim(storage=torch.CharStorage))[2:-1]
    return _saved(folder, b"}" + text("a." * 950) + b"}(" + numbers + text("w") + weight + b"u" + b"s")


def _references(folder: Path) -> Path:
    shared = b"(" + text("module") + b"N" * MANY + b"t" + PUT + b"0"
    return _legacy(folder, shared + b"h\xc8Q0" * MANY + b"N", b"]")


def _states(folder: Path, *, pair: bool) -> Path:
    """Objects that all have one state."""
    state = b"}(" + b"".join(b"J" + struct.pack("<i", 300 + i) + b"N" for i in range(25_000)) + b"u"
    state += b"N\x86" if pair else b""
    objects = b"cx\nY\nq\xc90](" + b"h\xc9)\x81h\xc8b" * 40_000 + b"e"
    return _saved(folder, state + PUT + b"0" + b"}" + text("a") + objects + b"s" + text("b") + WEIGHT + b"s")


def _updates(folder: Path) -> Path:
    """One dict that is given one state again and again."""
    state = b"}(" + b"".join(b"J" + struct.pack("<i", 300 + i) + b"N" for i in range(25_000)) + b"u"
    return _beside(folder, state + PUT + b"0}" + b"h\xc8b" * 75_000)


def _key(folder: Path) -> Path:
    """Dicts that each hold a tensor by the same long key."""
    tensors = b"}" + GET + b"h\xc9s"
    return _saved(folder, LONG + PUT + b"0" + WEIGHT + b"q\xc90](" + tensors * 60_000 + b"e")


def _keyed_numbers(folder: Path) -> Path:
    return _saved(folder, LONG + PUT + b"0](" + (b"}" + GET + b"Ns") * 40_000 + STATE + b"e")


def _keyed_modules(folder: Path) -> Path:
    """Modules by one long name, one in another."""
    registries = text("_parameters") + b"}" + text("_buffers") + b"}"
    begin = module_class() + b"}(" + registries + text("_modules") + b"}" + GET
    depth = 2000
    return _saved(folder, LONG + PUT + b"0" + begin * depth + b"N" + b"sub" * depth)


def _notes(folder: Path) -> Path:
    """Tensors under a long key that may be no weights."""
    name = text("k" * 250_000) + PUT + b"0"
    inner = b"}" + text("loss") + b"}" + GET + b"h\xc9ss"
    return _saved(folder, name + WEIGHT + b"q\xc90](" + STATE + inner * 30_000 + b"e")


def _names(folder: Path, *, part: str, end: str, count: int = 1_500) -> Path:
    """Names that begin with one long part, by which patterns may look for a beginning in every place."""
    long = (part * 2000)[:1900]
    keys = b"".join(text(f"{index}{end}") + b"h\xc9" for index in range(count))
    return _saved(folder, WEIGHT + b"q\xc90}" + text(long) + b"}(" + keys + b"us")


def _shared_module(folder: Path) -> Path:
    """A module of many modules without weights, held again and again."""
    registries = text("_parameters") + b"}" + text("_buffers") + b"}"
    registries += text("_modules") + b"}"
    leaf = module_class() + b"}(" + registries + b"ub" + PUT + b"0"
    names = b"".join(text(str(index)) + GET for index in range(30_000))
    inner = registries[:-1] + b"}(" + names + b"u"
    wide = module_class() + b"}(" + inner + b"ubq\xc90"
    return _saved(folder, leaf + wide + b"](" + STATE + b"h\xc9" * 200_000 + b"e")


def _optimiser(folder: Path) -> Path:
    """The state of an optimiser that keeps one large dict of each parameter, again and again."""
    kept = b"}(" + b"".join(text(f"{index}") + b"N" for index in range(30_000)) + b"u" + PUT + b"0"
    state = b"}(" + b"".join(b"J" + struct.pack("<i", 300 + i) + GET for i in range(60_000)) + b"u"
    return _saved(folder, kept + b"}" + text("state") + state + b"s" + text("w") + WEIGHT + b"s")


def _groups(folder: Path) -> Path:
    params = b"](" + b"K\x01" * MANY + b"e"
    group = b"}" + text("params") + params + b"s" + PUT
    groups = b"](" + GET * MANY + b"e"
    inner = text("param_groups") + group + b"0" + groups + text("state") + b"}K\x01" + WEIGHT + b"s"
    return _beside(folder, b"}(" + inner + b"u")


def _integers(folder: Path) -> Path:
    """Integers of more digits than Python writes, as a key, a size and an attribute."""
    number = b"\x8b" + struct.pack("<i", 30_000) + b"\x7f" * 30_000 + PUT
    return _saved(folder, number + b"0}(" + GET + WEIGHT + text("b") + GET + text("c.weight") + WEIGHT + b"u")


def _long_integers(folder: Path) -> Path:
    """A long integer as a key, again and again."""
    number = b"\x8b" + struct.pack("<i", 400_000) + b"\x7f" * 400_000 + PUT
    return _beside(folder, number + b"0}(" + b"h\xc8N" * 150_000 + b"u")


def _module_integers(folder: Path) -> Path:
    """A convolution with a stride of more digits than Python writes."""
    number = b"\x8b" + struct.pack("<i", 30_000) + b"\x7f" * 30_000
    parameters = b"}" + text("weight") + WEIGHT + b"s"
    attributes = text("_parameters") + parameters + text("_buffers") + b"}" + text("_modules") + b"}"
    attributes += text("stride") + number + text("dilation") + b"K\x01" + text("groups") + b"K\x01"
    attributes += text("transposed") + b"\x89"
    return _saved(folder, module_class("torch.nn.modules.conv Conv2d") + b"}(" + attributes + b"ub")


def _strides(folder: Path) -> Path:
    """Convolutions that all have one long list as their stride."""
    shared = b"](" + b"K\x01" * MANY + b"e" + PUT + b"0" + WEIGHT + b"q\xc90"
    parameters = b"}" + text("weight") + b"h\xc9sq\xca0"
    attributes = text("_parameters") + b"h\xca" + text("_buffers") + b"}" + text("_modules") + b"}"
    attributes += text("stride") + GET + text("dilation") + b"K\x01" + text("groups") + b"K\x01"
    attributes += text("transposed") + b"\x89"
    state = b"}(" + attributes + b"uq\xcb0"
    module = b"h\xcc)\x81h\xcbb"
    head = shared + parameters + state + b"ctorch.nn.modules.conv\nConv2d\nq\xcc0"
    outer = module_class() + b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules")
    modules = b"".join(text(str(index)) + module for index in range(10_000))
    return _saved(folder, head + outer + b"}(" + modules + b"uub")


def _flat(folder: Path) -> Path:
    """Weights of few bits, any of which might be the scale of any other."""
    few = torch.ones(2, 2).to(torch.float8_e4m3fn)
    names = (f"w{index}_weight" if index % 2 else f"weight_w{index}" for index in range(3_000))
    save_file({name: few.clone() for name in names}, folder / "model.safetensors")
    return folder / "model.safetensors"


def _parts(folder: Path) -> Path:
    """One parametrization of many parts."""
    names = (f"parametrizations.weight.{index}" for index in range(8_000))
    save_file({name: torch.ones(2, 2) for name in names}, folder / "model.safetensors")
    return folder / "model.safetensors"


FILES: tuple[SmallFile, ...] = (
    SmallFile(name="a doubling tuple as a storage's key", codes=(BROKEN,), says="damaged",
              make=lambda folder: _legacy(folder, STATE, b"](" + DOUBLING + b"e")),
    SmallFile(name="a doubling tuple as a storage's reference", codes=(BROKEN,), says="damaged",
              make=lambda folder: _legacy(folder, DOUBLING + b"Q", b"]")),
    SmallFile(name="a doubling tuple as a function", codes=(AUDITED,), says="conv",
              make=lambda folder: _beside(folder, DOUBLING + b")R")),
    SmallFile(name="a doubling tuple as a function of weights", codes=(INCOMPLETE,),
              make=lambda folder: _saved(folder, DOUBLING + STATE + b"\x85R")),
    SmallFile(name="a doubling tuple as a module's class", codes=(AUDITED,),
              make=lambda folder: _saved(folder, DOUBLING + b")R}(" + text("_parameters") + b"}"
                  + text("weight") + WEIGHT + b"s" + text("_buffers") + b"}" + text("_modules") + b"}ub")),
    SmallFile(name="a doubling tuple as a key", codes=(AUDITED,),
              make=lambda folder: _saved(folder, b"}(" + DOUBLING + b"N" + text("c.weight") + WEIGHT + b"u")),
    SmallFile(name="one list made into dicts", codes=(AUDITED, UNSAFE),
              make=partial(_calls, maker="collections OrderedDict", argument=b"NN\x86")),
    SmallFile(name="one list made into bytearrays", codes=(AUDITED, UNSAFE),
              make=partial(_calls, maker="builtins bytearray", argument=b"N")),
    SmallFile(name="one list made into sizes", codes=(AUDITED, UNSAFE),
              make=partial(_calls, maker="torch Size", argument=b"K\x01")),
    SmallFile(name="one list made into sparse tensors", codes=(BROKEN,), says="damaged", make=_sparse),
    SmallFile(name="parameters with one dict of attributes", codes=(AUDITED, UNSAFE), make=_parameters),
    SmallFile(name="parameters with attributes of many words", codes=(UNSAFE,), says="--step-limit",
              make=_attributes),
    SmallFile(name="numbers at a path of many words", codes=(UNSAFE,), says="--step-limit", make=_numbers),
    SmallFile(name="one long reference", codes=(BROKEN, UNSAFE), make=_references),
    SmallFile(name="objects with one state", codes=(AUDITED, UNSAFE), make=partial(_states, pair=False)),
    SmallFile(name="objects with one pair of states", codes=(AUDITED, UNSAFE),
              make=partial(_states, pair=True)),
    SmallFile(name="a dict with one state", codes=(AUDITED, UNSAFE), make=_updates),
    SmallFile(name="one long key of tensors", codes=(UNSAFE,), says="a name longer than", make=_key),
    SmallFile(name="one long key of nothing", codes=(AUDITED,), make=_keyed_numbers),
    SmallFile(name="one long key of modules", codes=(BROKEN, UNSAFE), make=_keyed_modules),
    SmallFile(name="long notes", codes=(AUDITED, UNSAFE), make=_notes),
    SmallFile(name="names of weightweight", codes=(INCOMPLETE,),
              make=partial(_names, part="weight", end="_x")),
    SmallFile(name="names of _weight_weight", codes=(INCOMPLETE,),
              make=partial(_names, part="_weight", end="!")),
    SmallFile(name="names of weight.weight", codes=(AUDITED,),
              make=partial(_names, part="weight.", end=".weight")),
    SmallFile(name="names of module.module", codes=(AUDITED,),
              make=partial(_names, part="module.", end=".weight")),
    SmallFile(name="names of scale.scale", codes=(AUDITED,),
              make=partial(_names, part="scale.", end=".weight")),
    SmallFile(name="names of model.model in averages", codes=(AUDITED,),
              make=partial(_names, part="model.ema.", end=".weight")),
    SmallFile(name="a module of nothing, again and again", codes=(AUDITED, UNSAFE), make=_shared_module),
    SmallFile(name="an optimiser with one state for all", codes=(INCOMPLETE,), make=_optimiser),
    SmallFile(name="an optimiser with one group for all", codes=(AUDITED, UNSAFE), make=_groups),
    SmallFile(name="integers of many digits", codes=(AUDITED,), make=_integers),
    SmallFile(name="one integer of many digits as a key", codes=(AUDITED, UNSAFE), make=_long_integers),
    SmallFile(name="a stride of many digits", codes=(INCOMPLETE,), make=_module_integers),
    SmallFile(name="one list as the stride of all", codes=(INCOMPLETE,), make=_strides),
    SmallFile(name="weights of few bits without dots", codes=(AUDITED,), says="weight_w2998", make=_flat),
    SmallFile(name="a parametrization of many parts", codes=(INCOMPLETE,), make=_parts),
)  # fmt: skip
