"""Tests of convsv_cli.differentiable."""
