"""`convsv clip` on the sample ResNet-20: norms, accuracy, BatchNorm estimated anew, and the same by scaling.

python benchmarks/clipping.py --cifar ../shared/data/cifar10_jpeg.npz

Prints, for both methods, the largest certified norm, how far weights were moved, the accuracy on the test
images before, after, and after the statistics of BatchNorm were estimated anew from training images; and by
how much onnxruntime and torch differ on what was written.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from convsv_cli import load
from convsv_cli.clipping import clip_file
from convsv_cli.empirical.function import session_of
from convsv_cli.report import CLIP_METHODS, Clipping, ClipSettings, Settings

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sample_models import cifar10, resnet  # noqa: E402  (found by the line above)

MODEL = ROOT / "sample_models/resnet20.onnx"
TRAINING = 2000
"""Images that BatchNorm is estimated from: cropped and flipped at random, as the training saw them."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", type=Path, default=ROOT / "../shared/data/cifar10_jpeg.npz")
    parser.add_argument("--max-layer", type=float, default=3.5)
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = saved(asked.cifar, Path(folder), asked.test)
        for method in CLIP_METHODS:
            for batchnorm in ("", str(paths["train"])):
                output = Path(folder, f"{method}{bool(batchnorm):d}.onnx")
                settings = ClipSettings(
                    max_layer=asked.max_layer, method=method, data=str(paths["test"]), batchnorm=batchnorm
                )
                start = time.process_time()
                found = clip_file(MODEL, output, settings, Settings(network_effort="quick", device="cpu"))
                tell(found, output, time.process_time() - start)


def saved(archive: Path, folder: Path, count: int) -> dict[str, Path]:
    """Test images, and some images as the training saw them, as `convsv clip` takes them."""
    paths = {split: folder / f"{split}.npz" for split in ("test", "train")}
    images, labels = cifar10.load(archive, "test")
    np.savez(paths["test"], x=images[:count].numpy(), y=labels[:count].numpy())
    generator = torch.Generator().manual_seed(0)
    images, labels = next(
        cifar10.augmented_batches(*cifar10.load(archive, "train"), size=TRAINING, generator=generator)
    )
    np.savez(paths["train"], x=images.numpy(), y=labels.numpy())
    return paths


def tell(found: Clipping, output: Path, seconds: float) -> None:
    """One line for a model that was written, and one for how torch and onnxruntime agree on it."""
    norms = [layer.after.upper for layer in found.layers if layer.after is not None]
    before = [layer.before.upper for layer in found.layers if layer.before is not None]
    moved = max(layer.change for layer in found.layers)
    known = found.accuracy
    if known is None or found.lipschitz_before is None or found.lipschitz_after is None:
        raise SystemExit("no accuracy")
    again = " and BatchNorm estimated anew" if found.settings.batchnorm else ""
    print(
        f"{found.settings.method}{again}: largest norm {max(before):.4f} -> {max(norms):.6f},"
        f" |dW|/|W| at most {moved:.3f}, accuracy {known.before / known.samples:.2%} ->"
        f" {known.after / known.samples:.2%} of {known.samples:,}, network {found.lipschitz_before:.4g} ->"
        f" {found.lipschitz_after:.4g}, {seconds:.0f} s of CPU, kept: {found.kept}"
    )
    print(f"  torch and onnxruntime differ by {difference(output):.2g} of the largest logit")


def difference(output: Path) -> float:
    """Between the logits of the model in onnxruntime, and of the module with its tensors, in torch."""
    from onnx import numpy_helper

    from convsv_cli.loaders.onnx.reading import parse

    module = resnet.ResNet().eval()
    stored = {each.name: numpy_helper.to_array(each).copy() for each in parse(output).graph.initializer}
    own = {name: torch.from_numpy(stored[name]) for name in module.state_dict() if name in stored}
    print(f"  {len(own)} of {len(module.state_dict())} tensors by name, {len(load(output).layers)} layers")
    module.load_state_dict(own, strict=False)
    x = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    session = session_of(output)
    name = session.get_inputs()[0].name
    theirs = np.concatenate([session.run(None, {name: each[None].numpy()})[0] for each in x])
    with torch.no_grad():
        ours = module(x).numpy()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


if __name__ == "__main__":
    main()
