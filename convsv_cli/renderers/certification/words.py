"""What a certification says, in words and figures that every text format shares."""

from __future__ import annotations

import math
from collections.abc import Iterator

from convsv_cli.renderers.columns import times
from convsv_cli.renderers.network_text import with_shares
from convsv_cli.renderers.numbers import LOWER, counted, figure, whole_percent
from convsv_cli.report import BOUNDED, CURVATURE, MARGIN, UPPER, Attack, Block, Certification, Route

FEW = 0.01
"""Share of the samples that are right, below which a certificate is said to prove almost nothing."""
LARGEST_BLOCKS = 3
QUANTILES = {0.0: "smallest", 0.5: "median", 1.0: "largest"}
CONSTANTS = {
    "lipschitz": "Lipschitz bound of the network",
    "lipschitz_before_head": "Lipschitz bound up to the last layer",
    "largest_curvature": "largest curvature of two logits' difference",
}
ROUTES = {
    MARGIN: "margins of the logits over Lipschitz bounds",
    CURVATURE: "curvature of the logits (CRC)",
}


def title(certification: Certification) -> str:
    """The model and the data."""
    model = certification.model
    opset = f" opset {model.opset}" if model.opset is not None else ""
    inputs = [f"{name} {times(shape)}" for name, shape in model.input_shape]
    count = f"{counted(len(certification.samples), 'sample')} of {certification.settings.data}"
    return " · ".join([model.path, f"{model.format}{opset}", *inputs, count])


def share(part: int, whole: int, kind: str = "") -> str:
    """In percent, with two digits: a proven share is rounded down, an upper bound up."""
    rounded = {LOWER: math.floor, UPPER: math.ceil}.get(kind, round)(10_000 * part / whole)
    return f"{rounded / 100:.2f} %"


def radius(value: float) -> str:
    """Rounded down; there is none where no class ever changes."""
    return "any" if math.isinf(value) else figure(value, LOWER)


def quantile(level: float) -> str:
    """Its name."""
    return QUANTILES.get(level, f"{100 * level:g} %")


def route(found: Route) -> str:
    """What a route rests on, or why it leads nowhere."""
    if found.reason:
        return f"{ROUTES[found.name]}: not used, {found.reason}"
    constants = ", ".join(f"{CONSTANTS[name]} ≤ {figure(value, UPPER)}" for name, value in found.constants)
    return f"{ROUTES[found.name]}: {constants}; the largest radius for {counted(found.best, 'sample')}"


def attack(tried: Attack) -> str:
    """What was tried."""
    if tried.failure:
        return f"not attacked: {tried.failure}"
    return (
        f"attack: PGD, {tried.steps} steps, {tried.restarts} starts, {tried.seconds:.1f} s; what it does not "
        "break is not proven to be robust"
    )


def reasons(certification: Certification) -> Iterator[str]:
    """Why (almost) nothing is certified; nothing where that is not so."""
    eps = min(certification.settings.eps)
    certified, correct = certification.certified(eps), certification.correct
    if certified > FEW * correct or not correct:
        return
    amount = "nothing" if certified == 0 else "almost nothing"
    yield f"at radius {eps:.6g}, {amount} is certified{_because(certification)}"
    bound = certification.bound
    blocks = sorted(with_shares(bound.blocks), key=lambda block: -(block.share or 0))[:LARGEST_BLOCKS]
    whole = "its logarithm" if all(block.factor >= 1 for block in bound.blocks) else "all growth"
    named = [_block(block, whole) for block in blocks]
    if bound.status == BOUNDED and bound.lipschitz > 1 and len(bound.blocks) > 1:
        yield (
            f"the bound multiplies what each of {len(bound.blocks)} blocks can amplify at most, and no "
            f"input meets the worst of all of them; most comes from {', '.join(named)}"
        )
    if certification.settings.attack and any(level.robust for level in certification.levels):
        yield "that nothing is proven does not mean that attacks succeed: see what the attack breaks"
    yield "networks trained with a small bound certify more: see Training in convsv's README"


def _because(certification: Certification) -> str:
    bound, margin = certification.bound, certification.typical_margin
    radii = certification.radii
    if bound.status != BOUNDED or margin is None:
        found = [route.reason for route in certification.routes if route.reason]
        return f": {found[0]}" if found and len(found) == len(certification.routes) else ""
    return (
        f": the Lipschitz bound is {figure(bound.lipschitz, UPPER)}, and the largest logit is ahead by "
        f"{figure(margin)} (median), so that the median radius is {radius(radii[(len(radii) - 1) // 2])}"
    )


def _block(block: Block, whole: str) -> str:
    part = "" if block.share is None else f", {whole_percent(block.share)} of {whole}"
    return f"{block.name} (≤ {figure(block.factor, UPPER)}{part})"
