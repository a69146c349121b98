"""Bounds of patterns whose constant is known: `python -m benchmarks.patterns [WORD ...]`.

Each pattern is exported by both of torch's exporters, and written by hand, at several opsets. Prints a
Markdown table: pattern, spelling, opset, the constant where it is known, and the bound, of the patterns that
have one of the words in their names, or of all. `--save FILE` keeps the bounds, and `--before FILE` shows
those that were kept beside the new ones.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import parser
from torch import Tensor, nn

from benchmarks.disjoint_patterns import DISJOINT
from benchmarks.pattern import Pattern, Text

OPSETS = (11, 13, 18, 20)
DYNAMO, LEGACY, HAND = "dynamo", "legacy", "by hand"
AT = {DYNAMO: (18, 20), LEGACY: (11, 13, 18, 20), HAND: OPSETS}
PATTERNS = DISJOINT


@dataclass(frozen=True, kw_only=True)
class Row:
    """One spelling at one opset."""

    pattern: str
    spelling: str
    opset: int
    true: float | None
    bound: float

    @property
    def key(self) -> str:
        """Names it in a saved file."""
        return f"{self.pattern} | {self.spelling} | {self.opset}"


class Applied(nn.Module):
    """A function as a module, for exporters."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(*inputs)


def exported(pattern: Pattern, *, dynamo: bool, opset: int, folder: Path) -> onnx.ModelProto:
    """The pattern by one of torch's exporters."""
    module = pattern.torch if isinstance(pattern.torch, nn.Module) else Applied(pattern.torch)
    inputs = tuple(torch.rand(tuple(shape)) for shape in pattern.shapes)
    path = folder / "exported.onnx"
    how = {"optimize": True, "verbose": False} if dynamo else {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), inputs, path, dynamo=dynamo, opset_version=opset, **how)
    return onnx.load(path)


def written(pattern: Pattern, text: Text, opset: int) -> onnx.ModelProto | None:
    """A hand-written spelling; None where there is none at this opset."""
    body = text(opset)
    if not body:
        return None
    inputs = ", ".join(
        f"float[{', '.join(map(str, shape))}] {name}"
        for shape, name in zip(pattern.shapes, "xz", strict=False)
    )
    head = f'<ir_version: 8, opset_import: ["" : {opset}]>'
    return parser.parse_model(f"{head} g ({inputs}) => (float y) {{ {body} }}")


def spellings(pattern: Pattern, folder: Path) -> Iterator[tuple[str, int, onnx.ModelProto]]:
    """All models of a pattern; exporters that do not work at an opset are left out."""
    for spelling, dynamo in ((DYNAMO, True), (LEGACY, False)):
        for opset in AT[spelling] if pattern.torch is not None else ():
            with contextlib.suppress(Exception):
                yield spelling, opset, exported(pattern, dynamo=dynamo, opset=opset, folder=folder)
    for name, text in pattern.texts.items():
        for opset in AT[HAND]:
            model = written(pattern, text, opset)
            if model is not None:
                yield f"{HAND}, {name}", opset, model


def rows(patterns: Sequence[Pattern]) -> Iterator[Row]:
    """The bounds of all models of all patterns."""
    from convsv_cli import audit

    with TemporaryDirectory() as name:
        folder = Path(name)
        for pattern in patterns:
            for spelling, opset, model in spellings(pattern, folder):
                path = folder / "model.onnx"
                onnx.save(model, path)
                bound = audit(path, network_effort="quick", input_range=pattern.box).bound
                found = math.inf if bound.lipschitz is None else bound.lipschitz
                yield Row(
                    pattern=pattern.name, spelling=spelling, opset=opset, true=pattern.true, bound=found
                )


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("words", nargs="*")
    arguments.add_argument("--before", type=Path)
    arguments.add_argument("--save", type=Path)
    options = arguments.parse_args()
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    before = json.loads(options.before.read_text()) if options.before else {}
    chosen = [each for each in PATTERNS if not options.words or any(w in each.name for w in options.words)]
    found = {}
    print("| pattern | spelling | opset | constant | before | bound |\n|---|---|---|---|---|---|")
    for row in rows(chosen):
        found[row.key] = row.bound
        true = "" if row.true is None else f"{row.true:.5g}"
        old = f"{before[row.key]:.5g}" if row.key in before else ""
        print(
            f"| {row.pattern} | {row.spelling} | {row.opset} | {true} | {old} | {row.bound:.5g} |", flush=True
        )
    if options.save:
        options.save.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
