"""Certified spectral norms of matrices and of convolution symbols, in pure torch on any device."""
