"""Tests of convsv_cli.renderers."""
