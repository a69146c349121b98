"""What is differentiable: regularisers and constraints for the training of PyTorch modules."""
