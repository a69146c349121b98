"""A model as reports name it, with SHA-256 of all files that it is in."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from convsv_cli.errors import ConvsvError
from convsv_cli.loaders.external_files import locate
from convsv_cli.model.network import Network
from convsv_cli.report import Model

BLOCK = 2**20


def model_of(network: Network) -> Model:
    """What a report says of the file that a network is from."""
    digests = digests_of(network)
    return Model(
        path=network.path,
        format=network.format,
        sha256=combined(network.files, digests),
        files=network.files,
        files_sha256=digests if len(digests) > 1 else (),
        opset=network.opset,
        input_shape=network.inputs,
    )


def digests_of(network: Network) -> tuple[str, ...]:
    """Of each of the network's files, hexadecimal; empty for one that is not there, and was not needed.

    A file that has several names is read once.
    """
    sources = network.sources or (Path(network.path),) * len(network.files)
    digest = cache(_digest)
    return tuple(
        digest(source if name == source.name else _part(source, name))
        for source, name in zip(sources, network.files, strict=True)
    )


def combined(files: tuple[str, ...], digests: tuple[str, ...]) -> str:
    """The digest of a whole model: that of its file; of several, that of what `sha256sum FILE...` prints."""
    if len(files) == 1:
        return digests[0]
    lines = (f"{digest}  {name}\n" for name, digest in zip(files, digests, strict=True))
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()


def _part(model: Path, name: str) -> Path | None:
    try:
        return locate(model, name, "the model")
    except ConvsvError:
        return None


def _digest(path: Path | None) -> str:
    if path is None:
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
