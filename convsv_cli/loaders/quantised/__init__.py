"""Weights that quantisers store in several tensors, put together: one module per library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

from convsv_cli.loaders.loader import StoredTensor, Usage
from convsv_cli.loaders.quantised import awq, bitsandbytes, compressed_tensors, gptq, microscaling, torchao
from convsv_cli.loaders.quantised.config import Config
from convsv_cli.loaders.quantised.scheme import Found, MisfitError, Scheme, check

FAMILIES: tuple[ModuleType, ...] = (awq, bitsandbytes, compressed_tensors, gptq, microscaling, torchao)
SCHEMES: tuple[Scheme, ...] = tuple(scheme for family in FAMILIES for scheme in family.SCHEMES)


def assembled(tensors: Mapping[str, StoredTensor], config: Config) -> dict[str, StoredTensor]:
    """The tensors with the parts of each weight replaced by the real weight, where its first mark is.

    Where its parts do not say what they stand for, it is a tensor that cannot be audited, with the reason.

    Args:
        tensors: by name.
        config: what is said of all of them beside the file, which is looked at only where that is needed.
    """
    weights: dict[str, tuple[str, StoredTensor]] = {}
    consumed: set[str] = set()
    for name in tensors:
        for scheme in SCHEMES:
            owner = None if name in consumed else scheme.owner(name, tensors)
            if owner is None:
                continue
            parts = {part: tensors[owner + part] for part in scheme.parts if owner + part in tensors}
            mine, target = {owner + part for part in parts}, owner + scheme.weight
            is_free = target in mine or target not in tensors
            weights[name] = (target if is_free else name, _weight(scheme, Found(parts=parts, config=config)))
            consumed |= mine
    made = {name: weights.get(name, (name, tensor)) for name, tensor in tensors.items()}
    return dict(pair for name, pair in made.items() if name in weights or name not in consumed)


def _weight(scheme: Scheme, found: Found) -> StoredTensor:
    """What the parts stand for, or one of them with why they stand for nothing known."""
    missing = [part for part in scheme.required if found.get(part) is None]
    unusable = next((tensor.unusable for tensor in found.parts.values() if tensor.unusable), "")
    try:
        check(not missing, f"it has no {next(iter(missing), '')}")
        check(not unusable, unusable)
        return scheme.read(found)
    except MisfitError as error:
        codes = found[scheme.codes or scheme.mark]
        shape = codes.shape if len(codes.shape) > 1 else (*codes.shape, 1)
        return replace(
            codes,
            shape=shape,
            unusable=f"quantised by {scheme.name}: {error}",
            usage=Usage(),
            scheme=scheme.name,
        )
