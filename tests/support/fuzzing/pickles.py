"""Other opcodes in a pickle."""

from __future__ import annotations

import itertools
import pickletools
import struct
from random import Random

from tests.support.fuzzing.mutations import NUMBERS

CANARY = "convsv-fuzzing-canary"
CALLS = (
    b"cos\nsystem\n(X%b%btR" % (struct.pack("<I", len(CANARY) + 6), b"touch " + CANARY.encode()),
    b"cos\nmkdir\nX%b%b\x85R" % (struct.pack("<I", len(CANARY)), CANARY.encode()),
    b"cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R",
    b"csubprocess\nPopen\nX\x04\x00\x00\x00true\x85R",
    b"cbuiltins\nbytearray\n\x8a\x05\x00\x28\x6b\xee\x00\x85R",
    b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89)tR",
    b"ctorch.nn.modules.conv\nConv2d\n)\x81}b",
    b"cnumpy.core.multiarray\n_reconstruct\n)R",
    b"ccollections\nOrderedDict\n)R",
)
OPCODES = b"()]}.012NRbuaestlidojqpQhgr\x81\x82\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x95\x96\x97"
WORDS = (
    b"os\nsystem",
    b"builtins\nexec",
    b"torch.jit\nload",
    b"torch\nFloatStorage",
    b"a\nb",
    b"torch\nload",
)


def opcode(data: bytes, random: Random) -> bytes:
    """One of the opcodes: gone, twice, moved, with another argument, or with others before it."""
    spans = _spans(data)
    if len(spans) < 2:
        return data
    start, end = random.choice(spans[:-1])
    own, before, after = data[start:end], data[:start], data[end:]
    changes = (
        lambda: before + after,
        lambda: before + own * random.choice((2, 3, 1000)) + after,
        lambda: before + random.choice(CALLS) + own + after,
        lambda: before + random.choice(CALLS) + after,
        lambda: before + bytes([random.choice(OPCODES)]) + own + after,
        lambda: before + bytes([random.choice(OPCODES)]) + after,
        lambda: before + data[slice(*random.choice(spans))] + after,
        lambda: before + _other(own, random) + after,
        lambda: before + _other(own, random) + after,
    )
    return random.choice(changes)()


def _other(own: bytes, random: Random) -> bytes:
    """The same opcode with another argument."""
    code, argument = own[:1], own[1:]
    if code in b"KMJI":
        value = random.choice(NUMBERS)
        return b"\x8a\x09" + (value % 2**64).to_bytes(8, "little") + b"\0"
    if code == b"c":
        return b"c" + random.choice(WORDS) + b"\n"
    if code == b"X" and len(argument) > 4:
        text = random.choice((b"", b"weight", b"_modules", b"../x", b"\xff", argument[4:] * 3, b"state_dict"))
        return b"X" + struct.pack("<I", len(text)) + text
    if not argument:
        return own
    at = random.randrange(len(argument))
    return code + argument[:at] + bytes([random.randrange(256)]) + argument[at + 1 :]


def _spans(data: bytes) -> list[tuple[int, int]]:
    """Where each opcode of the pickles in the data begins and ends; what is no pickle is left out."""
    starts: list[int] = []
    begin = 0
    try:
        while begin < len(data) and data[begin : begin + 1] == b"\x80":
            for code, _, position in pickletools.genops(data[begin:]):
                starts.append(begin + (position or 0))
                last = starts[-1]
                if code.name == "STOP":
                    break
            begin = last + 1
    except (ValueError, IndexError, UnicodeDecodeError, struct.error):
        pass
    return [*itertools.pairwise(starts), (starts[-1], starts[-1] + 1)] if starts else []
