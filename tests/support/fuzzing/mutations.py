"""From valid bytes to damaged or hostile ones; the same generator gives the same."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1)


def flip(data: bytes, random: Random) -> bytes:
    """A few bits."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def splice(data: bytes, random: Random) -> bytes:
    """A piece of it, over another one or between."""
    start = random.randrange(len(data))
    piece = data[start : start + random.choice((1, 4, 16, 64, 512, 4096))]
    at = random.randrange(len(data))
    return data[:at] + piece + data[at + (len(piece) if random.random() < 0.5 else 0) :]


def cut(data: bytes, random: Random) -> bytes:
    """Without a piece."""
    at = random.randrange(len(data))
    return data[:at] + data[at + random.choice((1, 2, 8, 64, 1024)) :]


def length(data: bytes, random: Random) -> bytes:
    """Somewhere, a number of some width: what could be a length or a position."""
    width, code = random.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q")))
    if len(data) < width:
        return data
    at = random.randrange(len(data) - width + 1)
    value = random.choice(NUMBERS) % 2 ** (8 * width)
    return data[:at] + struct.pack(random.choice("<>") + code, value) + data[at + width :]


def small_number(data: bytes, random: Random) -> bytes:
    """A byte that is a small number, where lengths, types and sizes are: another one."""
    places = [index for index, byte in enumerate(data[:65536]) if 0 < byte < 32]
    if not places:
        return data
    at = random.choice(places)
    return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]


BLIND: tuple[Mutation, ...] = (flip, truncate, splice, cut, length, small_number)


def mutated(data: bytes, random: Random, aware: tuple[Mutation, ...], share: float = 0.7) -> bytes:
    """In this share by what knows the format, and then the damage is seen deep inside; at times twice."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        choice = random.choice(aware) if aware and random.random() < share else random.choice(BLIND)
        with contextlib.suppress(Exception):  # what is too damaged for this mutation stays as it is
            data = choice(data, random) if data else data
    return data
