"""PyTorch modules as training and proofs read them: their linear maps, and chains of bounded curvature."""
