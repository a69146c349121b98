"""Certificates at one input: linear bounds that run backwards, with a box and a ball at every activation."""
