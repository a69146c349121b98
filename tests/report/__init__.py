"""Tests of convsv_cli.report."""
