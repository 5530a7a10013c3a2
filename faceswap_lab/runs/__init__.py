"""Runs and the verbs that make them: train, swap, evaluate."""
