"""Tests of convsv_cli.cli."""
