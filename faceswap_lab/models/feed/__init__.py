"""Data that keeps up with training: shards from a folder or a store, in an order that all ranks share, and decoded once."""
