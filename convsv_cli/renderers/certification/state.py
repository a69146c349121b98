"""Whether a certification is all that there will be, in words."""

from __future__ import annotations

from convsv_cli.deadline import WORDS
from convsv_cli.report import INTERRUPTED, TIME_LIMIT, Certification


def state(certification: Certification) -> str:
    """What there is to say of a certification that is not complete; empty where it is."""
    if certification.complete:
        return ""
    total, unfinished = len(certification.samples), certification.unfinished
    stopped = TIME_LIMIT if certification.timed_out else INTERRUPTED if certification.interrupted else ""
    why = WORDS[stopped] or "still at work"
    if not unfinished:
        return f"{why}: all radii are final, but no attack was made to its end"
    left = f"{unfinished:,} of {total:,} samples"
    return f"{why}: what is proven holds, but not all has been tried for {left}, of which more may be proven"
