"""Synthetic actors: people who do not exist, of whom everything is known."""
