"""The version, semantic: https://semver.org."""

__version__ = "0.1.0"
