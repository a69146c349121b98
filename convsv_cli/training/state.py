"""What the iterations within a penalty, a loss or a limited layer have come to, to go on bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from convsv_cli.errors import UsageError
from convsv_cli.torch_modules.modules import modules_of
from convsv_cli.training.unfoldings import Unfoldings


class PowerState:
    """The directions that a module keeps from step to step: its state beside its `state_dict`.

    A checkpoint needs none of it: the first call after loading finds them anew, in thirty steps. It is for
    trainings that are to end, interrupted, as they would have ended otherwise, to the last bit. It is kept as
    that of an optimiser is:

        checkpoint = {"model": model.state_dict(), "penalty": PowerState(penalty).state_dict()}
        ...
        model.load_state_dict(checkpoint["model"])
        PowerState(penalty).load_state_dict(checkpoint["penalty"])

    Args:
        module: a `LipschitzPenalty`, `CurvatureBound` or `CurvatureLoss`, or a model with layers of
            `limit_norm`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The directions by name, [layers * groups, rows, 3] each."""
        return {
            f"{name}.{own}": tensor.detach()
            for name, each in self._unfoldings()
            for own, tensor in each.named_buffers()
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from there; of a model with layers of `limit_norm`, load its weights first.

        Args:
            state: what `state_dict` gave, [layers * groups, rows, 3] each.

        Raises:
            UsageError: it is of other layers; nothing is changed then but what fits.
        """
        for name, each in self._unfoldings():
            own = {key.removeprefix(f"{name}."): value for key, value in state.items()}
            if not each.restore(own):
                raise UsageError(f"no directions for {name} that fit", hint="are the layers the same?")

    def forget(self) -> None:
        """Find the directions anew at the next call: weights were replaced in the middle of a training."""
        for _, each in self._unfoldings():
            each.forget()

    def _unfoldings(self) -> Iterator[tuple[str, Unfoldings]]:
        """Each once, under a name that does not depend on wrappers."""
        seen: set[Unfoldings] = set()
        for name, each in modules_of(self._module, parts=True):
            if isinstance(each, Unfoldings) and each not in seen:
                seen.add(each)
                yield name, each
