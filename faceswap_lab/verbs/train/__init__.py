"""`train`: a swapper of two people."""
