"""What `adapter_config.json` says of an adapter's updates; every entry of it may be anything."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convsv_cli import limits
from convsv_cli.errors import UnreadableModelError
from convsv_cli.loaders.files import parse_json
from convsv_cli.names import one_line

KINDS = {"LORA": "LoRA", "LOHA": "LoHa", "LOKR": "LoKr"}
"""The kinds that are read, by `peft_type`."""
ALPHA = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha"}
READ = frozenset((
    "alpha", "alpha_pattern", "fan_in_fan_out", "init_lora_weights", "layer_replication", "lora_alpha",
    "peft_type", "r", "rank_pattern", "use_dora", "use_rslora",
))  # fmt: skip
"""Entries that decide what an update is, and are followed."""
HARMLESS = frozenset((
    "_custom_modules", "auto_mapping", "base_model_name_or_path", "bias", "corda_config",
    "decompose_both", "decompose_factor", "ensure_weight_tying", "eva_config", "exclude_modules",
    "inference_mode", "init_weights", "layers_pattern", "layers_to_transform", "loftq_config",
    "lora_bias", "lora_dropout", "megatron_core", "module_dropout", "modules_to_save", "peft_version",
    "qalora_group_size", "rank_dropout", "rank_dropout_scale", "revision", "runtime_config",
    "target_modules", "task_type", "trainable_token_indices", "use_effective_conv2d",
))  # fmt: skip
"""Entries about training, about where updates are, or about what the tensors say by themselves."""
INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")
"""How factors may have begun without the base having been changed for it."""
IN_METADATA = "lora_adapter_metadata"
LONGEST = 60
MOST = 1e300
"""No alpha is as large."""
REPLICATED = "the adapter replicates layers of the base, so that these are others"
RESIDUAL = (
    "its updates are of a base that was changed when training began (init_lora_weights {}): not the model's"
)
UNKNOWN = "adapter_config.json says {}, which convsv does not know: it may change the update"
_PLAIN = re.compile(r"\^?(?:[\w\-]|\\?\.)+\$?")
"""Patterns that are names, which is what they are for; a point is any character, as in all patterns."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a configuration says.

    Attributes:
        kind: of the updates, as people call it.
        rank, alpha: of those without a pattern.
        ranks, alphas: of those whose module's name ends in one of these patterns; the first counts.
        rslora: whether the scale is alpha over the root of the rank.
        transposed: whether the weights are stored as inputs x outputs.
        reason: why no update is known; empty where they are.
        no_base: why the base cannot be looked at; empty where it can.
    """

    kind: str = "LoRA"
    rank: object = None
    alpha: object = None
    ranks: Mapping[str, object] = field(default_factory=dict)
    alphas: Mapping[str, object] = field(default_factory=dict)
    rslora: bool = False
    transposed: bool = False
    reason: str = ""
    no_base: str = ""

    def scale(self, module: str, rank: int | None) -> float | str:
        """What the factors of a module are multiplied by, or why that is not known.

        Args:
            module: its name in the network.
            rank: of its factors, as these are stored; None where none tells.
        """
        said, alpha = _of(self.ranks, module, self.rank), _of(self.alphas, module, self.alpha)
        strange = next((found for found in (said, alpha) if isinstance(found, _Strange)), None)
        if strange is not None:
            return f"adapter_config.json has the pattern {_shown(strange.pattern)}, which is no plain name"
        if type(said) is not int or not 0 < said < MOST or said != (rank or said):
            return (
                f"adapter_config.json says that its rank is {_shown(said)}; its factors have {rank or 'any'}"
            )
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) < MOST:
            return f"adapter_config.json says that its alpha is {_shown(alpha)}"
        return float(alpha) / (math.sqrt(said) if self.rslora else said)


def config_of(values: object) -> Config:
    """What a configuration says.

    Args:
        values: of the JSON text.

    Raises:
        UnreadableModelError: it is none of an adapter.
    """
    if not isinstance(values, dict) or not isinstance(values.get("peft_type"), str):
        hint = "pass the folder that PEFT saved, or its file of weights"
        raise UnreadableModelError("this JSON file is not the configuration of an adapter", hint=hint)
    kind = values["peft_type"]
    if kind not in KINDS:
        return Config(
            kind=_shown(kind),
            reason=f"an adapter of the kind {_shown(kind)}: convsv knows LoRA, LoHa and LoKr",
        )
    initial = values.get("init_lora_weights")
    return Config(
        kind=KINDS[kind],
        rank=values.get("r"),
        alpha=values.get(ALPHA[kind]),
        ranks=_patterns(values, "rank_pattern"),
        alphas=_patterns(values, "alpha_pattern"),
        rslora=values.get("use_rslora") is True,
        transposed=values.get("fan_in_fan_out") is True,
        reason=_fault(values) or (RESIDUAL.format(_shown(initial)) if not _is_plain(initial) else ""),
        no_base=REPLICATED if values.get("layer_replication") else "",
    )


def configs_in(metadata: Mapping[str, str]) -> dict[str, Config]:
    """What Diffusers has put into the metadata of a file, by the part of a pipeline that it is about.

    Args:
        metadata: of a safetensors file; the entry is a JSON object of entries such as "unet.lora_alpha".

    Raises:
        UnreadableModelError: it is none.
    """
    text = metadata.get(IN_METADATA)
    values = parse_json(text.encode(), f"the entry {IN_METADATA} of its metadata") if text else {}
    if not isinstance(values, dict):
        raise UnreadableModelError(f"the entry {IN_METADATA} of its metadata is no object")
    found: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        part, _, entry = name.partition(".")
        found.setdefault(part, {})[entry] = value
    return {part: config_of({"peft_type": "LORA", **entries}) for part, entries in found.items()}


def config_for(module: str, configs: Mapping[str, Config]) -> tuple[str, Config | None]:
    """The name of a module in its network, and the configuration for it; None where there is none.

    Args:
        module: its name in the file.
        configs: by the part of a pipeline; the empty one is for all.
    """
    part, _, name = module.partition(".")
    return (name, configs[part]) if part in configs else (module, configs.get(""))


def _is_plain(initial: object) -> bool:
    return any(initial is known or (isinstance(known, str) and initial == known) for known in INITIAL)


def _fault(values: Mapping[str, Any]) -> str:
    """The first entry that says something which may matter, and is not known; empty where there is none."""
    for name in ("use_rslora", "use_dora", "fan_in_fan_out"):
        if values.get(name) not in (None, False, True):
            return UNKNOWN.format(f"{name} {_shown(values[name])}")
    for name in ("rank_pattern", "alpha_pattern"):
        if not isinstance(values.get(name), dict | None):
            return UNKNOWN.format(f"{name} {_shown(values[name])}")
    for name, value in values.items():
        if name not in READ and name not in HARMLESS and value:
            return UNKNOWN.format(f"{_shown(name, quoted=False)} {_shown(value)}")
    return ""


def _patterns(values: Mapping[str, Any], name: str) -> Mapping[str, object]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class _Strange:
    """A pattern that is not followed."""

    pattern: str


def _of(patterns: Mapping[str, object], module: str, default: object) -> object:
    """The entry of the first pattern that the end of a name matches, from the beginning or behind a point.

    Patterns are from the file, and some take forever: those that are more than names are not followed, where
    none that is a name comes first.
    """
    limits.spend(len(module) + sum(map(len, patterns)), "matching the patterns of an adapter")
    for pattern, value in patterns.items():
        if not _PLAIN.fullmatch(pattern):
            return _Strange(pattern)
        if _ends(module, pattern):
            return value
    return default


def _ends(module: str, pattern: str) -> bool:
    """Whether a name ends with a plain pattern, in which a point without a backslash is any character."""
    plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", "\0")
    start = len(module) - len(plain)
    begins = start == 0 or (start > 0 and module[start - 1] == "." and not pattern.startswith("^"))
    pairs = zip(plain, module[max(0, start) :], strict=False)
    return begins and all(one in (".", other) or (one, other) == ("\0", ".") for one, other in pairs)


def _shown(value: object, *, quoted: bool = True) -> str:
    """A value of the file, in a few characters of one line."""
    text = one_line(repr(value) if quoted else str(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
