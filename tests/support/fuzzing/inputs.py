"""The inputs of a format by number."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

from tests.support.fuzzing import (
    arrays,
    attributes,
    ggufs,
    json_values,
    kept,
    pickles,
    protobufs,
    ranks,
    texts,
    zips,
)
from tests.support.fuzzing.mutations import Mutation, mutated
from tests.support.fuzzing.seeds import Seed, seeds

ZIP: tuple[Mutation, ...] = (zips.content, zips.content, zips.content, zips.records, zips.directory)
SAFETENSORS: tuple[Mutation, ...] = (json_values.safetensors_header, json_values.safetensors_claim)
ADAPTER: tuple[Mutation, ...] = (
    *SAFETENSORS,
    *(json_values.safetensors_part,) * 3,
    json_values.safetensors_value,
)
AWARE: dict[str, tuple[Mutation, ...]] = {
    "onnx": (protobufs.field,),
    "legacy checkpoint": (pickles.opcode,),
    "zip checkpoint": ZIP,
    "pickled module": ZIP,
    "TorchScript": ZIP,
    "pt2": ZIP,
    "safetensors": SAFETENSORS,
    "gguf": (*(ggufs.number,) * 4, ggufs.name, ggufs.nested),
    "quantised": SAFETENSORS,
    "distributed": (ranks.file,),
    "sharded index": (json_values.json_value, json_values.json_value, json_values.nested),
    "adapter": (*(json_values.json_value,) * 3, json_values.plausible, json_values.nested),
    "adapter file": ADAPTER,
    "ONNX operators": (
        *(attributes.attribute,) * 4,
        *(attributes.constant,) * 2,
        attributes.sizes,
        attributes.operator,
    ),
    "report": (*(json_values.json_value,) * 5, *(json_values.plausible,) * 3, json_values.nested),
    "budget": (texts.line,),
    "samples": (arrays.header, arrays.values, zips.records, zips.directory),
    "sweep results": (kept.part,),
    "cache": (kept.entry,),
}
READ = frozenset(("report", "budget", "samples"))
"""What is read beside a model, which stays as it is."""
KEPT = frozenset(("sweep results", "cache"))
"""Folders, with any number of files that are damaged."""
SHARES = dict.fromkeys((*READ, "ONNX operators"), 0.95)
"""How often a mutation knows the format where parsers refuse nearly all others."""
PARTS: dict[str, tuple[Mutation, ...]] = {
    "sharded index": SAFETENSORS,
    "gguf": (ggufs.number,),
    "quantised": (json_values.json_value, json_values.plausible),
    "distributed": (ranks.file,),
    "adapter": ADAPTER,
}
"""What knows the format of the files beside the first one."""

MAIN = 0.75
_seeds = cache(seeds)


def write_input(kind: str, number: int, folder: Path) -> Seed:
    """Write the files of an input; what they were made from."""
    seed, changed = _input(kind, number)
    for name, data in {**seed.files, **changed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    if kind in KEPT:
        kept.damage(folder, list(changed), Random(number))
    return seed


def _input(kind: str, number: int) -> tuple[Seed, dict[str, bytes]]:
    random = Random(f"{kind} {number}")
    seed = random.choice(_seeds(kind))
    if kind in KEPT:
        names = kept.mutable(seed.files)
        chosen = random.sample(names, min(len(names), random.choice((1, 1, 1, 2, 4))))
        return seed, {name: mutated(seed.files[name], random, AWARE[kind], 0.9) for name in chosen}
    other = random.random() >= MAIN and kind not in READ
    name = random.choice(list(seed.files)) if other else seed.main
    aware = AWARE[kind] if name == seed.main else PARTS.get(kind, ())
    return seed, {name: mutated(seed.files[name], random, aware, SHARES.get(kind, 0.7))}
