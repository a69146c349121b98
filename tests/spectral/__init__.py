"""Tests of convsv_cli.spectral."""
