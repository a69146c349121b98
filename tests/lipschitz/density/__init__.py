"""Tests of convsv_cli.lipschitz.density."""
