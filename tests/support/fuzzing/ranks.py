"""Other claims in what trainings on many devices leave: of chunks, places, shapes and types."""

from __future__ import annotations

import pickle
from random import Random
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import Metadata

from tests.support.distributed import Boxed, described, halves
from tests.support.fuzzing import zips
from tests.support.fuzzing.mutations import NUMBERS
from tests.support.fuzzing.pickles import opcode

PATHS = ("../secret", "/etc/passwd", "", "__1_0.distcp", ".metadata", "a\0b", "é" * 300)
TYPES = (torch.float16, torch.int8, torch.complex64, torch.bool, torch.qint8)


def state() -> dict[str, Boxed]:
    """What the seeds hold."""
    boxes = [((0, 0), (2, 6)), ((2, 0), (3, 1)), ((2, 1), (3, 5))]
    return {
        "conv.weight": halves(torch.ones(5, 3, 2, 3), 1),
        "fc.weight": Boxed(torch.arange(30.0).reshape(5, 6), boxes),
        "fc.bias": halves(torch.ones(5)),
    }


def file(data: bytes, random: Random) -> bytes:
    """A file of a rank, or the metadata of all."""
    if data.startswith(b"PK"):
        return random.choice((zips.content, zips.content, zips.records, zips.directory))(data, random)
    return opcode(data, random) if random.random() < 0.3 else _claims(random)


def _claims(random: Random) -> bytes:
    """The metadata of the seed with other claims; not of what was given, which may be anything."""
    metadata, _ = described(state())
    for _ in range(random.choice((1, 1, 2, 4))):
        random.choice((_entry, _box, _place, _key, _planned))(metadata, random)
    return pickle.dumps(metadata)


def _entry(metadata: Metadata, random: Random) -> None:
    """Another size or type of a tensor; chunks that are gone, twice, or none at all."""
    entry = _any(metadata.state_dict_metadata, random)
    what = random.randrange(5)
    if what == 0:
        vars(entry)["size"] = _shape(entry.size, random)
    elif what == 1:
        vars(entry.properties)["dtype"] = random.choice(TYPES)
    elif what == 2:
        entry.chunks[:] = random.choice((entry.chunks * 2, entry.chunks[1:], entry.chunks * 1000))
    else:
        vars(entry)[random.choice(("size", "chunks", "properties"))] = _odd(random)


def _box(metadata: Metadata, random: Random) -> None:
    """Other offsets or sizes of a chunk."""
    chunk = random.choice(_any(metadata.state_dict_metadata, random).chunks)
    name = random.choice(("offsets", "sizes"))
    vars(chunk)[name] = _shape(getattr(chunk, name), random) if random.random() < 0.9 else _odd(random)


def _place(metadata: Metadata, random: Random) -> None:
    """Other bytes, or another file."""
    place = _any(metadata.storage_data, random)
    name = random.choice(("offset", "length", "relative_path", "transform_descriptors"))
    given: Any = random.choice((*NUMBERS, place.offset, place.length))
    if name == "relative_path":
        given = random.choice(PATHS)
    if name == "transform_descriptors" or random.random() < 0.1:
        given = _odd(random)
    vars(place)[name] = given


def _key(metadata: Metadata, random: Random) -> None:
    """Chunks that change places, or names, or have none."""
    places: Any = metadata.storage_data
    first, second = (random.choice(list(places)) for _ in range(2))
    places[first], places[second] = places[second], places[first]
    if random.random() < 0.3:
        places[random.choice(("x", (1, 2), None, 2**70))] = places.pop(first)


def _planned(metadata: Metadata, random: Random) -> None:
    """Other paths of tensors in the state."""
    paths: dict[str, Any] = {name: ("model", name) for name in metadata.state_dict_metadata}
    paths[random.choice(list(paths))] = random.choice(
        (("optim", "state", 0, "exp_avg"), ("a",) * 90, _odd(random))
    )
    metadata.planner_data = paths


def _any(entries: Any, random: Random) -> Any:
    return random.choice(list(entries.values()))


def _shape(shape: Any, random: Random) -> torch.Size | tuple[int, ...]:
    """With another number, or more or fewer of them."""
    numbers = list(shape)
    at = random.randrange(len(numbers) + 1)
    numbers[at : at + random.randrange(2)] = [random.choice((*NUMBERS, 2, 3, 5, 6))] * random.choice(
        (1, 1, 1, 0, 2)
    )
    return tuple(numbers)


def _odd(random: Random) -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return random.choice((None, "x", -1, [], {}, loop, ("zstd",), 2**70, 1.5, [[1]], b"x" * 1000))
