"""Weights: files, sources and licences."""
