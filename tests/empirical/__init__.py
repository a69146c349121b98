"""Tests of convsv_cli.empirical."""
