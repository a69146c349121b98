"""Certificates at real inputs: how far each may move in the Euclidean norm and provably keep its class."""
