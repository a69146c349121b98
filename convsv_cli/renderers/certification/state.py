"""Whether a certification is all that there will be, in words."""

from __future__ import annotations

from convsv_cli.report import Certification


def state(certification: Certification) -> str:
    """What there is to say of a certification that is not complete; empty where it is."""
    if certification.complete:
        return ""
    total, unfinished = len(certification.samples), certification.unfinished
    why = "interrupted" if certification.interrupted else "still at work"
    if not unfinished:
        return f"{why}: all radii are final, but no attack was made to its end"
    left = f"{unfinished:,} of {total:,} samples"
    return f"{why}: what is proven holds, but not all has been tried for {left}, of which more may be proven"
