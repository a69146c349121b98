"""Tests of convsv_cli.certification."""
