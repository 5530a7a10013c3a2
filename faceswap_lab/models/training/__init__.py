"""One training loop for every network, and the pair's batches and losses."""
