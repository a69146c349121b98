"""The products of attention's matrices, head by head: W_q^T W_k compares tokens, W_o W_v moves their values.

Layers are known by the names that Hugging Face's and PyTorch's models give them; how many heads there are is
in `config.json` beside the model, or said by the user.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from convsv_cli import deadline, limits
from convsv_cli.auditing.guarding import guarded, weight_of
from convsv_cli.errors import UsageError
from convsv_cli.model.layer import RANKS_ORDER, Layer
from convsv_cli.model.network import Network
from convsv_cli.remote.files import opened
from convsv_cli.report import Interval, Product, Settings
from convsv_cli.spectral.products import product_norm

AUTO = "auto"
QK, VO = "qk", "vo"
MOST_CONFIG = 2**20
"""Bytes of a configuration that is read."""
MOST_HEADS = 2**14
WHAT = "the products of attention"
WORKING, WORK, CALLS = 32.0, 6.0, 400
"""Bytes for an entry of a head's matrices, and multiplications for each channel; calls that a head takes."""
SEPARATE = (
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_lin", "k_lin", "v_lin", "out_lin"),
    ("wq", "wk", "wv", "wo"),
    ("to_q", "to_k", "to_v", "to_out.0"),
    ("self.query", "self.key", "self.value", "output.dense"),
    ("attention.query", "attention.key", "attention.value", "output.dense"),
)
"""Names of the four matrices of attention within a module, each set of one family of models."""
FUSED = (("c_attn", "c_proj"), ("qkv_proj", "o_proj"), ("qkv_proj", "out_proj"), ("qkv", "proj"))
"""The same where queries, keys and values are one matrix, in this order."""
ROLES, FUSED_ROLES = ("q", "k", "v", "o"), ("qkv", "o")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KEY_HEADS = ("num_key_value_heads", "n_kv_heads")


ORDER = "the rows of its queries, keys and values are in another order in some models that have these names"


@dataclass(frozen=True, kw_only=True)
class Heads:
    """How many there are: of queries, and of keys and values, of which several queries may share one."""

    queries: int
    keys: int


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The layers of one module, by whose names it was found.

    Attributes:
        name: what the names have in common.
        parts: of q, k, v and o; or of qkv and o.
    """

    name: str
    parts: Mapping[str, Layer]


def heads_of(network: Network, asked: str) -> Heads:
    """As the user says, or as the configuration beside the model does.

    Args:
        network: whose files lie beside its configuration.
        asked: "auto", "H", or "H:K" with K heads of keys and values.

    Raises:
        UsageError: nothing says it, or what does makes no sense.
    """
    if asked == AUTO:
        queries, keys = _configured(Path(network.path).parent / "config.json")
    else:
        said = asked.split(":")
        numbers = [int(part) for part in said if part.isdecimal() and len(part) < 6]
        if len(numbers) != len(said) or len(said) > 2:
            raise UsageError(f"--attention {asked} is no number of heads", hint="e.g. --attention 32:8")
        queries, keys = numbers[0], numbers[-1]
    if not 0 < keys <= queries <= MOST_HEADS or queries % keys:
        raise UsageError(f"{queries} heads do not share {keys} heads of keys and values")
    return Heads(queries=queries, keys=keys)


def _configured(path: Path) -> tuple[int, int]:
    try:
        with opened(path) as file:
            config = json.loads(file.read(MOST_CONFIG))
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        config = {}
    found = [next((config[name] for name in names if name in config), None) for names in (HEADS, KEY_HEADS)]
    queries, keys = found[0], found[0] if found[1] is None else found[1]
    if type(queries) is not int or type(keys) is not int:
        raise UsageError(
            "no config.json beside the model says how many attention heads there are",
            hint="say it: --attention 32, or 32:8 with 8 heads of keys and values",
        )
    return queries, keys


def attentions(network: Network) -> list[Attention]:
    """The modules of attention among the layers, in the order of the file."""
    layers = {layer.name: layer for layer in network.layers if isinstance(layer, Layer)}
    found: dict[str, Attention] = {}
    for names in (*SEPARATE, *FUSED):
        roles = ROLES if len(names) == len(ROLES) else FUSED_ROLES
        for name in layers:
            module, part = name[: -len(names[0])], name[-len(names[0]) :]
            parts = [layers.get(module + own) for own in names]
            if part == names[0] and module[-1:] in ("", ".") and module not in found and all(parts):
                chosen = {role: layer for role, layer in zip(roles, parts, strict=True) if layer}
                found[module] = Attention(name=module.rstrip("."), parts=chosen)
    order = {name: index for index, name in enumerate(layers)}
    return sorted(found.values(), key=lambda each: order[next(iter(each.parts.values())).name])


def products_of(
    network: Network, settings: Settings, device: torch.device, names: Collection[str]
) -> tuple[Product, ...]:
    """Both products of each head, each enclosed, or why they are not.

    Args:
        network: whose attention it is.
        settings: how many heads there are.
        device: where to compute.
        names: of the layers that are audited; a module of attention counts if one of its layers does.

    Raises:
        UsageError: the number of heads is not known, or no attention is.
    """
    heads = heads_of(network, settings.attention)
    found = [each for each in attentions(network) if any(part.name in names for part in each.parts.values())]
    if not found:
        raise UsageError("no layers are named as those of attention are", where=network.path)
    products: list[Product] = []
    for each in found:
        if why := deadline.words():
            products += _left_out(each, why)
            continue
        products += guarded(partial(_measured, each, heads, device), partial(_left_out, each))
    return tuple(products)


def _left_out(attention: Attention, why: str) -> list[Product]:
    return [Product(attention=attention.name, kind=QK, reason=why)]


def _measured(attention: Attention, heads: Heads, device: torch.device) -> list[Product]:
    """Of one module.

    Raises:
        LimitError: its matrices take more than the model may.
    """
    if why := _disorder(attention):
        return _left_out(attention, why)
    weights = {key: weight_of(layer).to(device) for key, layer in attention.parts.items()}
    split = _split(weights, attention.parts, heads)
    if split is None:
        shapes = ", ".join("x".join(map(str, weight.shape)) for weight in weights.values())
        sharing = f"{heads.queries} heads with {heads.keys} of keys and values"
        return _left_out(attention, f"matrices of {shapes} are not those of {sharing}")
    group, counts = heads.queries // heads.keys, _counts(heads)
    widths = [len(part) // count for part, count in zip(split, counts, strict=True)]
    limits.spend(CALLS * limits.OBJECT * heads.queries, WHAT)
    limits.hold(WORKING * max(part.numel() for part in split) / heads.keys, WHAT)
    limits.multiply(WORK * group * sum(p.numel() * w for p, w in zip(split, widths, strict=True)), WHAT)
    products = []
    for head in range(heads.queries):
        places = zip(split, widths, (head, head // group, head // group, head), strict=True)
        q, k, v, o = (part[place * width : (place + 1) * width] for part, width, place in places)
        products.append(Product(attention=attention.name, kind=QK, head=head, norm=_norm(q, k)))
        products.append(Product(attention=attention.name, kind=VO, head=head, norm=_norm(o, v)))
    return products


def _disorder(attention: Attention) -> str:
    """Why the rows of one matrix may not be all queries, all keys, all values; empty where they are.

    CodeGen's `qkv_proj` and `out_proj` have them by quarters, in another order.
    """
    fused = attention.parts.get("qkv")
    if fused is None:
        return ""
    if RANKS_ORDER in fused.assumed:
        return RANKS_ORDER
    names = (fused.name, attention.parts["o"].name)
    return ORDER if names[0].endswith("qkv_proj") and names[1].endswith("out_proj") else ""


def _norm(left: torch.Tensor, right: torch.Tensor) -> Interval:
    finite = left.isfinite().all() and right.isfinite().all()
    return product_norm(left, right) if finite else Interval()


def _counts(heads: Heads) -> tuple[int, int, int, int]:
    """Heads of q, k, v and o."""
    return heads.queries, heads.keys, heads.keys, heads.queries


def _split(
    weights: Mapping[str, torch.Tensor], layers: Mapping[str, Layer], heads: Heads
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] | None:
    """Q, K, V and the transpose of O, with a row for each channel of each head; None where that is not so.

    GPT-2's `Conv1D` stores its matrices the other way round, [in, out], which the shape of a fused one tells.
    """
    o = weights["o"]
    if "qkv" in weights:
        fused = weights["qkv"]
        turned = layers["qkv"].name.endswith("c_attn") and fused.shape[0] < fused.shape[1]
        fused, o = (fused.mT, o) if turned else (fused, o.mT)
        width, left = divmod(len(fused), heads.queries + 2 * heads.keys)
        if left:
            return None
        sizes = [heads.queries * width, heads.keys * width, heads.keys * width]
        q, k, v = torch.split_with_sizes(fused, sizes)
    else:
        q, k, v, o = weights["q"], weights["k"], weights["v"], o.mT
    parts = (q, k, v, o)
    uneven = any(len(part) % count for part, count in zip(parts, _counts(heads), strict=True))
    if uneven or len(q) // heads.queries != len(k) // heads.keys:
        return None
    return None if len(v) // heads.keys != len(o) // heads.queries else parts
