"""Adapters: what they add to the weights of a network that they do not hold, by their small factors."""
