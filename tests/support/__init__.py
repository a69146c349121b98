"""Oracles, builders and data of the tests; they share no code with what they check."""
