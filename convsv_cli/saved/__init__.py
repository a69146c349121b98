"""Saved JSON reports, read back: any 1.x schema, with defaults for what older versions did not write."""

from __future__ import annotations

from convsv_cli.saved.document import read

__all__ = ["read"]
