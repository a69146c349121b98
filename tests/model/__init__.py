"""Tests of convsv_cli.model."""
