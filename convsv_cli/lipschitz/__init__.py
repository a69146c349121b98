"""Sound Lipschitz bounds of whole graphs."""
