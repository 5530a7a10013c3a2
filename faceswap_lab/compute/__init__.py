"""Clusters, gangs of ranks, tasks over workers, and what they cost; callables and plain data only."""
