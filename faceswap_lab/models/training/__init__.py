"""One loop for every network, and what the pair brings to it."""
