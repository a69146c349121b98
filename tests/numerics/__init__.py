"""Tests of convsv_cli.numerics."""
