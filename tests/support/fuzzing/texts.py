"""Other lines in a budget file, and other values and types in them."""

from __future__ import annotations

import re
from random import Random

VALUES = (
    *(
        "0",
        "-1",
        "1e400",
        "inf",
        "nan",
        "true",
        '""',
        "[]",
        "{}",
        "1979-05-27",
        "1979-05-27T07:32:00Z",
        "0x10",
    ),
    *(
        '"*"',
        '"[!a"',
        '"' + "*a" * 40 + '"',
        '"\\u0000"',
        '"' + "x" * 5000 + '"',
        "[1, 2]",
        '["a", 1]',
        "'''\n'''",
    ),
    *("9" * 5000, "[" * 500 + "]" * 500, "{a = 1}", "[[1]]", '"224x"', "[224, -1]", '"0,1"', "1_000", "-0.0"),
)
KEYS = (
    *(
        "max-lipschitz",
        "max-quantised-step",
        "max-layer",
        "models",
        "match",
        "max",
        "reason",
        "expires",
        "input-size",
        "exact",
        "device",
    ),
    *(
        "input-shape",
        "input-range",
        "tolerance",
        "network-effort",
        "as-layer",
        "as-table",
        "a.b.c",
        '"a b"',
        "ü",
        "",
    ),
)
HEADS = (
    "[[layer]]",
    "[[ignore]]",
    "[layer]",
    "[tool.convsv]",
    "[a.b]",
    "[[a]]",
    "]" * 2000,
    "[" * 2000,
    "#" * 9000,
)


def line(data: bytes, random: Random) -> bytes:
    """A line that is other, gone, there again, or elsewhere."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    lines[at : at + 1] = random.choice(
        (
            [],
            [lines[at]] * random.choice((2, 3000)),
            [lines[other], lines[at]],
            [re.sub(r"=.*", lambda _: "= " + random.choice(VALUES), lines[at])],
            [re.sub(r"=.*", lambda _: "= " + random.choice(VALUES), lines[at])],
            [re.sub(r"^[^=]*=", lambda _: random.choice(KEYS) + " =", lines[at])],
            [lines[at], f"{random.choice(KEYS)} = {random.choice(VALUES)}"],
            [random.choice(HEADS), lines[at]],
        )
    )
    return "\n".join(lines).encode("utf-8", "surrogateescape")
