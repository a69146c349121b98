"""Linear maps by constants: convolutions, matrices, and scalings entry by entry."""

from __future__ import annotations

from convsv_cli.lipschitz.arithmetic import times
from convsv_cli.lipschitz.operation import Operation, Rule, UnboundedError


def weighted(operation: Operation) -> float:
    """Conv, ConvTranspose: the norm of the kernel."""
    return times(_norm(operation), operation.input(0).lipschitz)


def product(operation: Operation) -> float:
    """MatMul, Gemm, Einsum: the norm of the constant, or the product rule of two activations."""
    moving = operation.varying
    left, right = operation.input(0), operation.input(1)
    if operation.node.layers and len([t for t in (left, right) if not t.constant]) == 1:
        other = right if left.constant else left
        addend = operation.optional(2)
        return times(_norm(operation), other.lipschitz) + (addend.lipschitz if addend is not None else 0.0)
    raise UnboundedError(f"a product of {len(moving)} activations")


def _norm(operation: Operation) -> float:
    if not operation.node.layers:
        raise UnboundedError("its weight is no constant")
    return operation.layer_norm(operation.node.layers[0])


RULES = {
    "Conv": Rule(lipschitz=weighted),
    "ConvTranspose": Rule(lipschitz=weighted),
    "MatMul": Rule(lipschitz=product),
    "Gemm": Rule(lipschitz=product),
    "Einsum": Rule(lipschitz=product),
}
