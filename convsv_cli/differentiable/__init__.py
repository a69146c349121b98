"""A graph as a function of torch tensors, to have gradients by: for attacks, never for a proof.

Operators are torch's own; what they compute is held against the runtime's results before it is used.
"""

from __future__ import annotations

from convsv_cli.differentiable.function import Function, UndifferentiableError, differentiable

__all__ = ["Function", "UndifferentiableError", "differentiable"]
