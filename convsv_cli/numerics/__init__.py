"""Rounding, and numbers between two ends: the one home of every margin that a proof takes off."""
