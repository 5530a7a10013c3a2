"""Synthetic actors: people who do not exist, rendered with complete ground truth."""
