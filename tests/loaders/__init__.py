"""Tests of convsv_cli.loaders."""
