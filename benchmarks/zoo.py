"""Which networks of today have a bound: small random ones as both of torch's exporters write them.

    python benchmarks/zoo.py [--only NAME,..] [--opsets 13,17,18,20] [--save FOLDER]

Prints network, exporter and opset -> bound without and with an input range (0 to 1 for images, else -1 to 1),
and beside them the largest norm of the Jacobian at random inputs in that range; then what stands in the way,
and of which networks.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from benchmarks import zoo_llama, zoo_sequences, zoo_swin, zoo_transformers, zoo_vision  # noqa: E402
from benchmarks.zoo_export import EXPORTERS, bound_of, export, opset_of  # noqa: E402

if TYPE_CHECKING:
    from convsv_cli.report import NetworkBound

OPSETS = (13, 17, 18, 20)
IMAGE, TOKENS, STEPS = ((1, 3, 16, 16),), ((1, 9, 16),), ((1, 7, 6),)
PATCHES = ((1, 3, 12, 12),)


@dataclass(frozen=True, kw_only=True)
class Net:
    """How to make a network, and the shapes of its inputs."""

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def box(self) -> tuple[float, float]:
        """What its inputs are in: pixels, or anything else."""
        return (0.0, 1.0) if len(self.shapes[0]) == 4 else (-1.0, 1.0)

    def built(self, seed: int = 0) -> nn.Module:
        """At random, with statistics of BatchNorms and scales of norms that are not the initial ones."""
        torch.manual_seed(seed)
        net = self.make()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.4, 1.5)
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
                nn.init.uniform_(module.weight, 0.5, 1.2)
                nn.init.normal_(module.bias, std=0.2)
        return net.eval()

    def points(self, count: int = 1) -> list[tuple[Tensor, ...]]:
        """Inputs in the box."""
        low, high = self.box
        return [tuple(low + (high - low) * torch.rand(shape) for shape in self.shapes) for _ in range(count)]


def _nets() -> dict[str, Net]:
    t, v = zoo_transformers, zoo_vision
    tokens = {
        "bert": t.Bert,
        "gpt2": t.gpt2,
        "llama": zoo_llama.llama,
        "qwen3": lambda: zoo_llama.llama(normalised=True),
        "mixer": t.Mixer,
        "attention": t.Attention,
        "attention-causal": lambda: t.Attention(mask=t.causal(t.TOKENS)),
        "attention-normed": lambda: nn.Sequential(nn.LayerNorm(t.WIDTH), t.Attention()),
        "attention-l2": t.L2Attention,
        "sdpa": t.FusedAttention,
        "sdpa-causal": lambda: t.FusedAttention(is_causal=True),
        "multihead": lambda: t.MultiHead(weights=False),
        "multihead-weights": lambda: t.MultiHead(weights=True),
        "encoder-post": lambda: t.encoder_layer(norm_first=False),
        "encoder-pre": lambda: t.encoder_layer(norm_first=True),
    }
    images = {
        "swin": zoo_swin.Swin,
        "swin-6": lambda: zoo_swin.Swin((2, 6)),
        "swin-v2": lambda: zoo_swin.Swin(second=True),
        "convnext": v.ConvNeXt,
        "convnext-v2": lambda: v.ConvNeXt(second=True),
        "densenet": v.densenet,
        "efficientnet": v.efficientnet,
        "mobilenet-v3": v.mobilenet_v3,
        "regnet-y": v.regnet_y,
        "unet": v.UNet,
        "cbam": v.cbam,
    }
    steps = {
        "lstm": lambda: zoo_sequences.Recurrent(nn.LSTM, both=False),
        "lstm-both": lambda: zoo_sequences.Recurrent(nn.LSTM, both=True),
        "gru": lambda: zoo_sequences.Recurrent(nn.GRU, both=False),
        "glu": zoo_sequences.GatedConvolutions,
    }
    return {
        **{name: Net(make=make, shapes=TOKENS) for name, make in tokens.items()},
        **{name: Net(make=make, shapes=IMAGE) for name, make in images.items()},
        **{name: Net(make=make, shapes=STEPS) for name, make in steps.items()},
        "vit": Net(make=t.ViT, shapes=PATCHES),
        "clip": Net(make=lambda: t.ViT(t.QuickGELU()), shapes=PATCHES),
        "whisper": Net(make=t.Whisper, shapes=((1, 8, 18), (1, 4, 16))),
        "highway": Net(make=zoo_sequences.Highway, shapes=((1, 8),)),
    }


NETS = _nets()


def steepest(net: Net, points: int = 4) -> float:
    """The largest Jacobian norm at random inputs in the box, in double precision."""
    function, found = net.built().double(), 0.0
    for inputs in net.points(points):
        blocks = torch.autograd.functional.jacobian(function, tuple(each.double() for each in inputs))
        size = function(*(each.double() for each in inputs)).numel()
        whole = torch.cat([block.reshape(size, -1) for block in blocks], 1)
        found = max(found, float(torch.linalg.matrix_norm(whole, 2)))
    return found


def figure(bound: NetworkBound | str) -> str:
    """In one cell."""
    if isinstance(bound, str):
        return "error"
    if bound.obstacles:
        return f"{len(bound.obstacles)} obstacles"
    return bound.status if bound.reason else f"{bound.lipschitz:.4g}"


def obstacles(bound: NetworkBound | str) -> list[str]:
    """The operator and the reason of each, without names of tensors."""
    if isinstance(bound, str):
        return [bound]
    lines = [f"{each.op}: {each.reason}" for each in bound.obstacles]
    return [re.sub(r"'[^']*'", "'...'", line) for line in [*lines, *filter(None, [bound.reason])]]


Found = defaultdict[str, Counter[str]]
"""How often each obstacle is met, by the file."""


def measure(name: str, opsets: tuple[int, ...], folder: Path, found: Found) -> None:
    """Print the rows of one network.

    Args:
        name: of the network.
        opsets: to export it at.
        folder: where the files are, or go.
        found: gets its obstacles.
    """
    net, seen = NETS[name], set[tuple[str, int]]()
    least = steepest(net)
    for exporter, opset in product(EXPORTERS, opsets):
        path = folder / f"{name}-{exporter}-{opset}.onnx"
        options = {"dynamo": EXPORTERS[exporter], "opset": opset}
        reason = "" if path.exists() else export(net.built(), net.points()[0], path, **options)
        row = f"{name:18} {exporter:7} {opset:3}"
        if reason:
            print(f"{row}  not exported: {reason}", flush=True)
        elif (place := (exporter, opset_of(path))) in seen:
            print(f"{row}  as opset {place[1]}", flush=True)
        else:
            seen.add(place)
            print(f"{row}  {_figures(path, net.box, found)}   >= {least:.4g}", flush=True)


def _figures(path: Path, box: tuple[float, float], found: Found) -> str:
    """Without and with the input range."""
    free, boxed = bound_of(path, None), bound_of(path, box)
    for where, bound in (("everywhere", free), ("on the range", boxed)):
        for line in obstacles(bound):
            found[f"{where}: {line}"][path.stem] += 1
    return f"{figure(free):>16} {figure(boxed):>16}"


def main() -> None:
    """Print the table and the obstacles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(NETS), help="names of networks")
    parser.add_argument("--opsets", default=",".join(map(str, OPSETS)))
    parser.add_argument("--save", type=Path, help="folder for the files; those in it are not written again")
    arguments = parser.parse_args()
    opsets = tuple(int(each) for each in arguments.opsets.split(","))
    found: Found = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.save or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{'network':18} exporter opset {'bound':>14} {'on the range':>16}   Jacobian")
        for name in arguments.only.split(","):
            measure(name, opsets, folder, found)
    for obstacle, files in sorted(found.items()):
        print(f"\n{obstacle}\n   ", ", ".join(f"{count} in {file}" for file, count in files.items()))


if __name__ == "__main__":
    main()
