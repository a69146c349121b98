"""What the code in a TorchScript archive computes: its text, followed call by call; none of it is run."""
