"""Tests of convsv_cli.budget."""
