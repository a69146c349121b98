"""Tensors that share their entries, as far as that matters where one of them is changed in place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from convsv_cli import limits
from convsv_cli.loaders.pt2.program import Node, Program
from convsv_cli.loaders.pt2.translation.writer import UntranslatedError

SHARING = frozenset((
    "_reshape_alias", "adjoint", "alias", "alpha_dropout", "broadcast_to", "channel_shuffle", "chunk",
    "contiguous", "detach", "detach_", "double", "dropout", "einsum", "expand", "expand_as",
    "feature_alpha_dropout", "feature_dropout", "flatten", "float", "half", "lift_fresh", "matrix_H",
    "meshgrid", "movedim", "mT", "narrow", "numpy_T", "permute", "positive", "ravel", "requires_grad_",
    "reshape", "reshape_as", "select", "slice", "split", "split_with_sizes", "squeeze", "swapaxes",
    "swapdims", "t", "tensor_split", "to", "transpose", "type_as", "unbind", "unflatten", "unfold",
    "unsqueeze", "view", "view_as", "_to_copy",
))  # fmt: skip
"""Operators that are translated, and whose results may be, or hold, entries of what they are given."""


@dataclass(kw_only=True, eq=False)
class Aliases:
    """Which tensors share entries, up to a node.

    Results of operators that work in place are what these were given, by another name. All that are views of
    one tensor, and views of these, are one family with it.

    Attributes:
        program: of which they are.
    """

    program: Program
    _family: dict[str, str] = field(default_factory=dict)
    _members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _same: dict[str, str] = field(default_factory=dict)
    _last_use: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        uses = {name: node.position for node in self.program.nodes for name in node.tensors}
        self._last_use = {**uses, **dict.fromkeys(self.program.outputs, len(self.program.nodes))}

    def note(self, node: Node, operator: str, *, known: bool) -> None:
        """That a node was called; what one gives that is not known may be anything that it takes."""
        if operator in SHARING or not known:
            self._join(node.outputs, node.tensors)

    def check_kept(self, node: Node) -> None:
        """See that nothing is used afterwards that a node takes, which may change all of it.

        Raises:
            UntranslatedError: something is.
        """
        used = (each for name in node.tensors for each in self._members.get(self._of(name), {name}))
        for each in used:
            limits.spend(limits.OBJECT, "tensors that share entries")
            if self._last_use.get(each, -1) > node.position:
                raise UntranslatedError(f"{node.target!r} may change in place what is used after it")

    def changed(self, node: Node) -> str:
        """The tensor that a node changes in place, which its result stands for from now on.

        Raises:
            UntranslatedError: another tensor that shares its entries is used afterwards.
        """
        if not node.tensors:
            raise UntranslatedError("it changes nothing in place")
        name = node.tensors[0]
        own, members = self._whole(name), self._members.get(self._of(name), set())
        limits.spend(limits.OBJECT * len(members), "tensors that share entries")
        if any(self._whole(each) != own and self._last_use.get(each, -1) > node.position for each in members):
            raise UntranslatedError("it changes in place what another tensor shares with it")
        self._join(node.outputs, (name,))
        self._same |= dict.fromkeys(node.outputs, own)
        return name

    def _join(self, names: tuple[str, ...], others: tuple[str, ...]) -> None:
        """Make one family of names that are new and of others."""
        if not others:
            return
        home = self._of(others[0])
        for each in others[1:]:
            joined = self._of(each)
            if joined != home:
                members = self._members.pop(joined, set()) | {joined, each}
                limits.spend(limits.OBJECT * len(members), "tensors that share entries")
                self._family |= dict.fromkeys(members, home)
                self._members[home] |= members
        self._family |= dict.fromkeys(names, home)
        self._members[home].update((home, others[0], *names))

    def _of(self, name: str) -> str:
        return self._family.get(name, name)

    def _whole(self, name: str) -> str:
        return self._same.get(name, name)
