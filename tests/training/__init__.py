"""Tests of convsv_cli.training."""
