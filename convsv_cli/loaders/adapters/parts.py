"""The tensors of an adapter, by the module that they change, as PEFT, Diffusers, Kohya, LyCORIS call it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from convsv_cli.loaders.loader import StoredTensor

DOWN, UP, MIDDLE, ALPHA, MAGNITUDE = "down", "up", "middle", "alpha", "magnitude"
BIAS = "bias"
DORA_SCALE = "dora_scale"
PREFIX = "base_model.model."
"""What PEFT puts before all names."""
_WORDS = {
    "lora_A": DOWN,
    "lora_B": UP,
    "lora_down": DOWN,
    "lora_up": UP,
    "lora_mid": MIDDLE,
    "lora_magnitude_vector": MAGNITUDE,
    DORA_SCALE: MAGNITUDE,
    "lora_embedding_A": "embedding_down",
    "lora_embedding_B": "embedding_up",
    **{name: name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")},
    **{
        name: name
        for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
    },
    "diff": "diff",
}
_TELLING = frozenset(_WORDS) - {"diff", DORA_SCALE}
"""Names that only adapters have."""
_LAYERS = ("lora_A", "lora_B", "lora_down", "lora_up", "lora_mid")
"""Those that are modules, with a weight."""
_NETWORKS = ("lora_", "lycoris_")
"""How Kohya and LyCORIS begin all names."""
_HALVES = {"down": DOWN, "up": UP}
_HOLDERS = ("lora", "lora_linear_layer")
_KNOWN = re.compile(
    r"(?:^|[._])(?:lora|hada|lokr|dora|oft|glora|ia3|vera|lycoris|token_adapter)(?:[._]|$)", re.IGNORECASE
)
"""What names of parts say that are none of these."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a name says.

    Attributes:
        module: which one is changed.
        part: which part of its update this is.
        adapter: which of several adapters it is of, where names say; else empty.
        telling: whether only adapters have such names.
    """

    module: str
    part: str
    adapter: str = ""
    telling: bool = True


@dataclass(frozen=True, kw_only=True)
class Module:
    """The parts of an update.

    Attributes:
        name: of the module that is changed, without what PEFT puts before all.
        stored: the same as in the file.
        adapter: which of several adapters it is of; empty for the only one.
        parts: the tensors, by what they are.
        names: of these, in the file.
        twice: names of tensors that are a part which is there already.
    """

    name: str
    stored: str
    adapter: str = ""
    parts: dict[str, StoredTensor] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)


def part_of(name: str) -> Part | None:
    """What a tensor is by its name; None for one that is no part of an update."""
    *path, last = name.split(".")
    ending = last if last in ("weight", "bias") else ""
    if ending and path:
        *path, last = path
    adapter = ""
    if last not in _WORDS and path and path[-1] in _WORDS and bool(ending) == (path[-1] in _LAYERS):
        adapter, last, path = last, path[-1], path[:-1]
    if path and last in _WORDS:
        part = BIAS + last if ending == "bias" else _WORDS[last]
        module = ".".join(path)
        telling = last in _TELLING or (last == "diff" and module.startswith(_NETWORKS))
        return Part(module=module, part=part, adapter=adapter, telling=telling)
    if path and last == ALPHA and not ending:
        return Part(module=_holder(path) or ".".join(path), part=ALPHA, telling=False)
    module = _holder(path) if path and last in _HALVES and ending == "weight" else ""
    return Part(module=module, part=_HALVES[last]) if module else None


def _holder(path: list[str]) -> str:
    """The module whose update is in `a.lora` or `a.processor.to_q_lora`; empty where there is none."""
    *outer, last = path
    if last in _HOLDERS and outer:
        return ".".join(outer)
    owner = last.removesuffix("_lora")
    if owner in (last, ""):
        return ""
    outer = outer[:-1] if outer[-1:] == ["processor"] else outer
    return ".".join([*outer, "to_out.0" if owner == "to_out" else owner])


def is_adapter(names: Iterable[str]) -> bool:
    """Whether some of the tensors are parts of an update."""
    return any(part is not None and part.telling for part in map(part_of, names))


def modules(tensors: Mapping[str, StoredTensor]) -> tuple[list[Module], dict[str, StoredTensor]]:
    """The updates among the tensors of an adapter, in the order of the file, and the other tensors."""
    found: dict[tuple[str, str], Module] = {}
    others: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        part = part_of(name)
        if part is None:
            others[name] = tensor
            continue
        plain = part.module.removeprefix(PREFIX)
        module = found.setdefault(
            (part.module, part.adapter), Module(name=plain, stored=part.module, adapter=part.adapter)
        )
        if part.part in module.parts:
            module.twice.append(name)
            continue
        module.parts[part.part] = tensor
        module.names[part.part] = name
    alone = [key for key, module in found.items() if set(module.parts) == {ALPHA}]
    for key in alone:  # a parameter of that name
        module = found.pop(key)
        others[module.names[ALPHA]] = module.parts[ALPHA]
    return list(found.values()), others


def may_be_part(name: str) -> bool:
    """Whether a tensor that is none of the parts here is part of an update of another kind, by its name."""
    return _KNOWN.search(name) is not None
