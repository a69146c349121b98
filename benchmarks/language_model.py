"""Audits of language models by their shapes: python benchmarks/language_model.py [--before CHECKOUT] [SHAPE].

Random bfloat16 weights of one seed, in shards with an index, are audited as users do, in a process of its
own: its processor seconds, its peak memory, and what each kind of layer took. With `--blocks`, a model has
that many blocks, and what one of all its blocks takes is extrapolated from it: a block costs what another one
does, and what a model without blocks takes is measured too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.large import HERE, audited

BLOCKS_PER_SHARD = 2


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama: its sizes by the names of Hugging Face's `config.json`, and whether its head is a table."""

    blocks: int
    hidden: int
    inner: int
    heads: int
    key_heads: int
    words: int
    tied: bool

    def config(self) -> dict[str, object]:
        """What lies beside the weights."""
        return {
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.blocks,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "vocab_size": self.words,
            "tie_word_embeddings": self.tied,
        }

    def block(self, index: int) -> dict[str, tuple[int, int]]:
        """The matrices of a block."""
        hidden, keys = self.hidden, self.hidden // self.heads * self.key_heads
        shapes = {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (self.inner, hidden),
            "mlp.up_proj": (self.inner, hidden),
            "mlp.down_proj": (hidden, self.inner),
        }
        return {f"model.layers.{index}.{name}.weight": shape for name, shape in shapes.items()}

    def shards(self) -> list[dict[str, tuple[int, int]]]:
        """The matrices by file."""
        ends = {"model.embed_tokens.weight": (self.words, self.hidden)}
        if not self.tied:
            ends["lm_head.weight"] = (self.words, self.hidden)
        files = [ends]
        for first in range(0, self.blocks, BLOCKS_PER_SHARD):
            indices = range(first, min(first + BLOCKS_PER_SHARD, self.blocks))
            files.append({name: shape for i in indices for name, shape in self.block(i).items()})
        return files


SHAPES: Mapping[str, Shape] = {
    "1.2B": Shape(
        blocks=16, hidden=2048, inner=8192, heads=32, key_heads=8, words=128_256, tied=True
    ),  # Llama-3.2-1B
    "7B": Shape(
        blocks=32, hidden=4096, inner=11_008, heads=32, key_heads=32, words=32_000, tied=False
    ),  # Llama-2-7B
}


def save(shape: Shape, folder: Path) -> tuple[Path, int]:
    """The index of a model in that folder, and how many parameters it has."""
    draws = torch.Generator().manual_seed(0)
    homes, parameters = {}, 0
    for number, shapes in enumerate(shape.shards()):
        file, tensors = f"model-{number:05}.safetensors", {}
        for name, sizes in shapes.items():
            tensors[name] = torch.empty(sizes).normal_(std=0.02, generator=draws).bfloat16()
            parameters += tensors[name].numel()
        save_file(tensors, folder / file)
        homes |= dict.fromkeys(tensors, file)
    (folder / "config.json").write_text(json.dumps(shape.config()), encoding="utf-8")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": homes}), encoding="utf-8")
    return index, parameters


def measured(shape: Shape, checkout: Path, options: list[str]) -> tuple[float, dict[str, list[float]]]:
    """Processor seconds of an audit, and the seconds of each row by its last name; prints both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index, parameters = save(shape, folder)
        found = folder / "audit.json"
        code, seconds, peak = audited(checkout, index, ("-o", str(found), *options))
        if code:
            raise SystemExit(f"{checkout}: the audit exits with {code}")
        (audit,) = json.loads(found.read_text(encoding="utf-8"))["audits"]
    kinds = defaultdict(list)
    for row in audit["layers"]:
        if row["status"] == "audited":
            kinds[row["name"].rpartition(".")[2]].append(sum(row["seconds"].values()))
    print(
        f"{checkout.name}: {parameters / 1e9:.2f} B parameters in {shape.blocks} blocks,"
        f" {sum(map(len, kinds.values()))} layers audited: {seconds:.1f} cpu s, peak {peak / 1e6:.2f} GB",
        flush=True,
    )
    return seconds, kinds


def report(shape: Shape, checkout: Path, blocks: int | None, options: list[str]) -> None:
    """Print what the audits of one checkout take."""
    seconds, kinds = measured(shape if blocks is None else replace(shape, blocks=blocks), checkout, options)
    for kind, each in kinds.items():
        print(f"  {kind:<12} {len(each):>3} of {sum(each) / len(each):>7.2f} s (wall) in calculators")
    if blocks is not None:
        ends, _ = measured(replace(shape, blocks=0), checkout, options)
        whole = ends + (seconds - ends) / blocks * shape.blocks
        print(f"  {(seconds - ends) / blocks:.1f} cpu s a block; all {shape.blocks}: {whole:.0f} cpu s")


def main() -> None:
    """As the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shape", nargs="?", default="1.2B", choices=SHAPES)
    parser.add_argument("--blocks", type=int, help="only so many, from which all are extrapolated")
    parser.add_argument("--untied", action="store_true", help="with a matrix after the last block")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="audit with that one too")
    asked, options = parser.parse_known_args()
    shape = SHAPES[asked.shape]
    if asked.untied:
        shape = replace(shape, tied=False)
    for checkout in (HERE, asked.before):
        if checkout is not None:
            report(shape, checkout.resolve(), asked.blocks, options)


if __name__ == "__main__":
    main()
