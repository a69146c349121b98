"""The public functions; `convsv_cli` re-exports them.

What only some of them need is imported by these: an audit waits for no certification, and for no budget.
"""

from __future__ import annotations

from convsv_cli.api.audits import audit, load, network_bound
from convsv_cli.api.certificates import certify
from convsv_cli.api.clips import clip
from convsv_cli.api.norms import spectral_norm

__all__ = ["audit", "certify", "clip", "load", "network_bound", "spectral_norm"]
