"""What in a checkpoint belongs to the training and not to the network, by its structure.

Names alone prove nothing ("loss_net" and "hyperprior" are networks): what only a name makes training state is
left out as something that could be weights all the same.
"""

from __future__ import annotations

import re
from typing import Any

from convsv_cli.loaders.checkpoint.containers import Count, containers, matrices, pairs
from convsv_cli.loaders.checkpoint.values import Record, as_key
from convsv_cli.names import LONGEST_NAME

SLOTS = frozenset((
    "step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col", "exp_inf",
    "momentum_buffer", "square_avg", "sqr_avg", "grad_avg", "acc_delta", "sum", "ax", "eta", "mu",
    "mu_product", "prev", "step_size", "state1", "state2", "qmap1", "qmap2", "absmax1", "absmax2",
    "slow_buffer", "RMS",
))  # fmt: skip
"""What optimisers keep of each parameter."""
_OPTIMISER = re.compile(r"(?:^|_)optim(?:i[sz]ers?)?(?:_|$)")
_WORDS = frozenset((
    "args", "callbacks", "cfg", "config", "hparams", "hyper_parameters", "kwargs", "loops", "loss", "losses",
))  # fmt: skip
_PARAMETERS = ("weight", "bias")
_KEPT = ("state", "param_groups")


def is_named_for_training(key: Any) -> bool:
    """Whether the whole of a key is a word for something other than a network."""
    return (
        isinstance(key, str)
        and len(key) <= LONGEST_NAME
        and (key.lower() in _WORDS or _OPTIMISER.search(key.lower()) is not None)
    )


def is_optimiser(key: Any, value: Any, count: Count) -> bool:
    """Whether it is certainly the state of an optimiser, or the optimiser itself.

    Where the key says "optimizer", it may also hold one, and beside that at most copies of its parameters, as
    mixed precision has them: without names, of the same shapes.
    """
    attributes = value.attributes if isinstance(value, Record) else value
    if not isinstance(attributes, dict):
        return False
    if _keeps_state(key, attributes, count):
        return _are_copies(key, _others(attributes), attributes, count)
    inside = {id(item): item for item in attributes.values()} if is_named_for_training(key) else {}
    inner = [item for item in inside.values() if isinstance(item, dict) and _keeps_state("", item, count)]
    further = [item for item in inside.values() if not any(item is one for one in inner[:1])]
    return bool(inner) and _are_copies(key, [*further, *_others(inner[0])], inner[0], count)


def _others(attributes: dict[Any, Any]) -> list[Any]:
    """What is beside the state of an optimiser."""
    return [item for name, item in attributes.items() if name not in _KEPT]


def _keeps_state(key: Any, attributes: dict[Any, Any], count: Count) -> bool:
    """Whether something is kept of each parameter.

    Groups list the parameters that there is a state of; without groups, what is kept of each parameter tells
    where these are numbered or the name says so, or the name alone.
    """
    state, groups = attributes.get("state"), attributes.get("param_groups")
    if isinstance(state, list):
        state = dict(enumerate(state))
    if not isinstance(state, dict):
        return False
    count(len(state))
    kept_once = list({id(kept): kept for kept in state.values()}.values())
    count(sum(len(kept) for kept in kept_once if isinstance(kept, dict)))
    if any(map(_is_network, kept_once)):
        return False
    if groups is not None:
        return _lists(groups, state, count)
    numbered = bool(state) and all(type(number) is int for number in state)
    slots = all(isinstance(kept, dict) and SLOTS.issuperset(kept) for kept in kept_once)
    some = slots and any(kept_once)
    if is_named_for_training(key):
        return some or (numbered and attributes.keys() == {"state"})
    return numbered and some


def _are_copies(key: Any, further: list[Any], attributes: dict[Any, Any], count: Count) -> bool:
    """Whether tensors beside the state of an optimiser can only be copies of its parameters."""
    found = matrices(further, count)
    if not found:
        return True
    shapes = {tensor.shape for tensor in matrices(attributes.get("state"), count)}
    return (
        is_named_for_training(key)
        and not any(map(_is_network, containers(further, count)))
        and all(tensor.shape in shapes for tensor in found)
    )


def are_optimisers(value: Any, count: Count) -> bool:
    """Whether it is a list or a dict of states of optimisers."""
    inside = (item for _, item in pairs(value)) if isinstance(value, (dict, list, tuple)) else ()
    holding = [item for item in {id(item): item for item in inside}.values() if matrices(item, count)]
    return bool(holding) and all(is_optimiser("", item, count) for item in holding)


def _is_network(kept: Any) -> bool:
    """Whether what is kept of one parameter has names as a state dict has them."""
    names = kept if isinstance(kept, dict) else ()
    return any(isinstance(name, str) and ("." in name or name in _PARAMETERS) for name in names)


def _lists(groups: Any, state: dict[Any, Any], count: Count) -> bool:
    """Whether the groups of an optimiser list all parameters of which it keeps something.

    In a pickled optimiser they are the parameters themselves, by which nothing can be looked up.
    """
    if not isinstance(groups, (list, tuple)) or not all(isinstance(group, dict) for group in groups):
        return False
    count(len(groups))
    groups = list({id(group): group for group in groups}.values())
    lists = list({id(params): params for params in (group.get("params") for group in groups)}.values())
    if not all(isinstance(params, (list, tuple)) for params in lists):
        return False
    if matrices([item for group in groups for name, item in group.items() if name != "params"], count):
        return False
    count(sum(map(len, lists)))
    listed = {param for params in lists for param in params if as_key(param) is param}
    return all(key in listed or isinstance(key, Record) for key in state)
