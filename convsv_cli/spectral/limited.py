"""What `limit_norm` makes of a weight in evaluation, and how a state dict tells of it.

The module and whoever reads its checkpoint compute the weight alike, here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import torch

from convsv_cli import limits
from convsv_cli.model.kernel import reduce_kernel
from convsv_cli.model.layer import Geometry
from convsv_cli.report import TOLERANCE, WORK_LIMIT
from convsv_cli.spectral.cores import one_thread_each
from convsv_cli.spectral.norms import norms_of

RECORD = "convsv_norm_limit"
"""Name of the buffer that tells of it. Its integers (the limit's bits, whether it is transposed, groups,
strides, dilations; then `CERTIFIED`, if that is what the limit is of) are what `half()` leaves alone."""
CERTIFIED = 1
"""The limit is of the certified norm, and not of the bound by unfoldings."""
SPARE = 2.0**-22  # what rounding to float32 takes
NO_TIME = "there was no time to find what limit_norm makes of its weight"


Proof = Callable[[torch.Tensor, Geometry], float]
"""A bound of the norm of a weight that is applied so, proven from above."""


def proven_bound(weight: torch.Tensor, geometry: Geometry) -> float:
    """The least of sqrt(prod k) times the norms of all unfoldings, proven from above.

    Raises:
        LimitError: no time or memory is left for the norms themselves.
    """
    norms = norms_of(reduce_kernel(weight.detach(), geometry))
    bound = norms.bound()
    if norms.notes:  # what is proven in a hurry would make the factor smaller than the module's
        raise limits.LimitError(NO_TIME)
    return bound


def proven_norm(weight: torch.Tensor, geometry: Geometry) -> float:
    """The supremum of the norm over all input sizes, proven from above to the tolerance of an audit.

    Raises:
        LimitError: as `proven_bound`.
    """
    norms = norms_of(reduce_kernel(weight.detach(), geometry))
    upper = norms.supremum(tolerance=TOLERANCE, limit=WORK_LIMIT).upper
    if norms.notes:
        raise limits.LimitError(NO_TIME)
    return upper


def proof_of(*, certified: bool) -> Proof:
    """What a limit is of: `proven_norm` where that is `certified`, else `proven_bound`."""
    return proven_norm if certified else proven_bound


def proven_factor(
    weight: torch.Tensor, geometry: Geometry, limit: float, proven: Proof = proven_bound
) -> float:
    """The factor of at most 1 by which a finite weight is multiplied, in its own type, to keep to a limit.

    It ends: each round spares twice as much, so that the factor is 0 after some 20 rounds at the latest.

    Args:
        weight, geometry: of the layer.
        limit: positive.
        proven: gives a bound of the layer's norm from above.
    """
    factor, spare = 1.0, SPARE
    with one_thread_each():
        while (bound := proven(weight * factor, geometry)) > limit:
            factor *= limit / bound * (1 - spare)
            spare *= 2
    return factor


def record_of(geometry: Geometry, limit: float, *, certified: bool = False) -> torch.Tensor:
    """The buffer `RECORD`; `certified` as of `proof_of`."""
    (bits,) = struct.unpack("<q", struct.pack("<d", limit))
    entries = (int(geometry.transposed), geometry.groups, *geometry.stride, *geometry.dilation)
    kind = (CERTIFIED,) if certified else ()
    return torch.tensor([bits, *entries, *kind], dtype=torch.int64)


def limit_in(record: Sequence[int]) -> tuple[float, dict[str, object]]:
    """The limit, and the geometry by torch's names for its arguments: as a file claims them, unchecked.

    Args:
        record: as of `record_of`, with an odd number of entries from three on.
    """
    bits, transposed, groups, *steps = record
    (limit,) = struct.unpack("<d", struct.pack("<q", bits))
    half = len(steps) // 2
    stride, dilation = tuple(steps[:half]), tuple(steps[half:])
    return limit, {"transposed": bool(transposed), "groups": groups, "stride": stride, "dilation": dilation}
