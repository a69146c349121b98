"""Operators for random graphs, in all their modes; by family."""

from __future__ import annotations

from tests.support.random_graphs import Operator
from tests.support.random_operators.branches import branch, concat, meeting
from tests.support.random_operators.elementwise import (
    activation,
    clip,
    gelu,
    hard_swish,
    mask,
    mish,
    prelu,
    silu,
    with_constant,
)
from tests.support.random_operators.linear import conv, conv_transpose, einsum, gemm, matmul, vector_product
from tests.support.random_operators.movement import (
    cumsum,
    depth_to_space,
    expand,
    flatten,
    gather,
    gather_elements,
    pad,
    reshape,
    reshape_by_shape,
    resize,
    slice_,
    space_to_depth,
    split,
    squeeze,
    tile,
    top_k,
    transpose,
    trilu,
    unsqueeze,
)
from tests.support.random_operators.reduction import (
    batch_norm,
    global_pool,
    group_norm,
    instance_norm,
    layer_norm,
    local_response,
    pool,
    recurrent,
    reduce,
    softmax,
)
from tests.support.random_operators.wild import (
    attention,
    gather_by_the_largest,
    jump,
    power,
    product,
    products_of_entries,
    quotient,
    steep,
)

TAME: tuple[tuple[Operator, ...], ...] = (
    (conv, conv, conv_transpose),
    (gemm, matmul, vector_product, einsum),
    (activation,),
    (clip, prelu, silu, gelu, mish, hard_swish),
    (with_constant, with_constant, mask),
    (meeting, meeting, concat, branch),
    (transpose, reshape, reshape_by_shape, flatten, squeeze, unsqueeze),
    (
        slice_,
        split,
        gather,
        gather_elements,
        expand,
        tile,
        pad,
        depth_to_space,
        space_to_depth,
        trilu,
        cumsum,
        top_k,
        resize,
    ),
    (pool, pool, global_pool, reduce, reduce),
    (softmax, batch_norm, batch_norm, layer_norm, instance_norm, group_norm, local_response),
    (recurrent,),
)
"""Operators with a Lipschitz constant, whatever comes before."""


WILD: tuple[tuple[Operator, ...], ...] = (
    (product, product, quotient, attention),
    (steep, power, products_of_entries, jump, gather_by_the_largest),
)
