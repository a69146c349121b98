"""Weights under `torch.nn.utils.parametrizations.orthogonal` (Lezcano-Casado, 2019), recomputed in float64.

W = B Q, or its transpose where W is wider than it is high: of the tall one, B [n, n] is the stored `base`, I
where there is none, and Q [n, k] has orthonormal columns, by one of three maps of the stored tensor:

* matrix_exp: the first columns of exp(A), A = X - X' of the lower triangle X;
* cayley: the first columns of (I - A/2)^-1 (I + A/2);
* householder: those of the product of k reflections, times signs on the diagonal of the stored tensor.

A state dict does not say which. Signs on the diagonal are householder's where there is no base. With one, the
map of a matrix does not matter to its singular values: B is orthogonal but for rounding, and then so are the
columns of B Q, whatever Q is; where Q is square, B Q has the singular values of B exactly. Of kernels, which
are made of such matrices, the norm depends on it. What float64 rounds is not counted: some 1e-15 n of W.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from convsv_cli import limits
from convsv_cli.digits import short
from convsv_cli.loaders.loader import StoredTensor
from convsv_cli.model.home import homeless

UNKNOWN = "a parametrization that convsv does not know: save the model after remove_parametrizations"
KERNELS = "orthogonal taps by one of torch's three maps, which the file does not name"
RAW = "; the stored tensor, which is not the weight, has a norm of about {} as a matrix"
MISFIT = "an orthogonal parametrization whose base does not fit its weight"
SIGNS = "orthogonal by torch's householder map, judging by the signs on its stored diagonal"
WHICHEVER = "orthogonal by torch's {}, its default here: its other maps give the same singular values"
EXP, HOUSEHOLDER = "matrix_exp", "householder"
ITERATIONS, PRODUCTS = 50, 30
"""Steps to the norm of a matrix that nothing is proven of; products of matrices in an exponential."""


def orthogonal(original: StoredTensor, base: StoredTensor) -> StoredTensor:
    """The weight with a base; a reason instead where the map, which the file does not name, matters."""
    n = max(original.shape[-2:], default=0)
    if original.fault or base.fault or base.shape != (*original.shape[:-2], n, n) or not n:
        return replace(original, unusable=original.fault or base.fault or MISFIT)
    if len(original.shape) > 2:
        return replace(original, unusable=KERNELS + _raw(original))
    kind = EXP if original.shape[0] == original.shape[1] else HOUSEHOLDER
    made = replace(original, read=lambda: _weight(kind, original.read(), base.read()), home=homeless)
    identities = original.identity, base.identity
    return replace(
        made,
        identity=None if None in identities else identities,
        assumed=(*original.assumed, WHICHEVER.format(kind)),
    )


def without_base(original: StoredTensor) -> StoredTensor:
    """The weight where only one tensor is stored: by householder where signs say so, else unknown."""
    if original.fault:
        return replace(original, unusable=original.fault)
    if not _signs(original):
        return replace(original, unusable=UNKNOWN + _raw(original))
    identity = None if original.identity is None else (original.identity, HOUSEHOLDER)
    return replace(
        original,
        read=lambda: _weight(HOUSEHOLDER, original.read(), None),
        identity=identity,
        assumed=(*original.assumed, SIGNS),
        home=homeless,
    )


def unknown(original: StoredTensor) -> StoredTensor:
    """The raw tensor of a parametrization that is none of these, with the reason and its own norm."""
    return replace(original, unusable=original.fault or UNKNOWN + _raw(original))


def _signs(original: StoredTensor) -> bool:
    """Whether its matrices have 1 or -1 all along the diagonal, two at least, and not only zeros below."""
    if len(original.shape) < 2 or min(original.shape[-2:]) < 2 or 0 in original.shape:
        return False
    values = original.read().double()
    tall = values.mT if original.shape[-2] < original.shape[-1] else values
    signs = tall.diagonal(dim1=-2, dim2=-1).abs() == 1
    return bool(signs.all() and tall.tril(diagonal=-1).any())


def _weight(kind: str, stored: torch.Tensor, base: torch.Tensor | None) -> torch.Tensor:
    """W [m, k] in float64."""
    wide = stored.shape[-2] < stored.shape[-1]
    tall = stored.double().mT if wide else stored.double()
    n, k = tall.shape[-2:]
    count = tall[..., 0, 0].numel() * n * (n * n * PRODUCTS if kind == EXP else n * k)
    limits.multiply(count, "an orthogonal parametrization")
    if kind == EXP:
        lower = torch.nn.functional.pad(tall.tril(), (0, n - k))
        columns = torch.linalg.matrix_exp(lower - lower.mT)[..., :k]
    else:
        below = tall.tril(diagonal=-1)
        factors = 2 / (1 + below.square().sum(dim=-2))
        signs = tall.diagonal(dim1=-2, dim2=-1).trunc().unsqueeze(-2)
        columns = torch.linalg.householder_product(below, factors) * signs
    found = columns if base is None else base.double() @ columns
    weight: torch.Tensor = found.mT if wide else found
    return weight


def _raw(original: StoredTensor) -> str:
    """What is said of the norm of a stored tensor, by a few steps of the power method."""
    if len(original.shape) < 2 or 0 in original.shape:
        return ""
    matrix = original.read().double().flatten(1)
    limits.spend(2 * ITERATIONS * matrix.numel(), "the norm of a stored tensor")
    if not matrix.isfinite().all():
        return ""
    vector = torch.linspace(1, 2, matrix.shape[1], dtype=torch.float64)
    for _ in range(ITERATIONS):
        image = matrix.mT @ (matrix @ vector)
        vector = image / image.norm().clamp(min=torch.finfo(torch.float64).tiny)
    return RAW.format(short((matrix @ vector).norm().item(), 3))
