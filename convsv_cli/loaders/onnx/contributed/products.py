"""Products of matrices with a factor, an activation, or transposed operands."""

from __future__ import annotations

from convsv_cli.loaders.onnx.contributed.activations import PARAMETERS, activated, gelu
from convsv_cli.loaders.onnx.contributed.expansion import UNKNOWN_RANK, Expansion
from convsv_cli.loaders.onnx.signatures import UnreadableNodeError

LETTERS = "abcdefgh"
VALUES = "activation_{}"


def _product(node: Expansion) -> str:
    """The product of the first two inputs, each transposed as attributes say, times alpha."""
    operands = [_operand(node, node.needed(index), side) for index, side in enumerate("AB")]
    ranks = [node.rank(name) for name in operands]
    known = [rank for rank in ranks if rank is not None]
    rank = max(known) if len(known) == len(ranks) and min(known) > 1 else None
    return node.times(node.emit("MatMul", *operands, rank=rank), node.attribute("alpha", 1.0))


def _operand(node: Expansion, name: str, side: str) -> str:
    """A vector is not transposed. `transBatch` moves the first axis behind the other axes of the batch."""
    inner, rank = node.flag(f"trans{side}"), node.rank(name)
    if rank == 1:
        return name
    if not node.flag(f"transBatch{side}"):
        return node.permuted(name, "...ij", "...ji") if inner else name
    if rank is None or rank > len(LETTERS):
        raise UnreadableNodeError(UNKNOWN_RANK)
    batch = LETTERS[: rank - 2]
    return node.permuted(name, f"i{batch}j", f"{batch}{'ji' if inner else 'ij'}")


def _values(node: Expansion, activation: str) -> list[float]:
    """What the attributes say of an activation's parameters; all of them have to be there."""
    values = node.attributes()
    names = [VALUES.format(name) for name in PARAMETERS.get(activation, ())]
    return [values[name] for name in names if name in values]


def _matmul(node: Expansion) -> None:
    node.expect(inputs=2)
    node.result(_product(node))


def _matmul_activation(node: Expansion) -> None:
    node.expect(inputs=2)
    node.refuse("activation_axis")
    activation = node.attribute("activation", "")
    node.result(activated(node, _product(node), activation, _values(node, activation)))


def _gemm(node: Expansion) -> None:
    node.expect(inputs=3)
    activation = node.attribute("activation", "")
    inputs = [node.needed(0), node.needed(1), *filter(None, [node.given(2)])]
    own = node.attributes("activation", *(VALUES.format(name) for name in ("alpha", "beta", "gamma")))
    product = node.emit("Gemm", *inputs, rank=2, **own)
    node.result(activated(node, product, activation, _values(node, activation)))


def _gemm_gelu(node: Expansion) -> None:
    """X of any number of axes times W, a bias, and the Gelu by a hyperbolic tangent."""
    node.expect(inputs=3)
    rank = node.rank(node.needed(0))
    product = node.emit("MatMul", node.needed(0), node.needed(1), what="product", rank=rank)
    node.result(gelu(node, node.plus(product, node.given(2), "bias"), "tanh"))


RULES = {
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "FusedMatMulActivation": _matmul_activation,
    "GemmFastGelu": _gemm_gelu,
    "TransposeMatMul": _matmul,
}
