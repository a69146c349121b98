"""Tests of convsv_cli.auditing."""
