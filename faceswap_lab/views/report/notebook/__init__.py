"""Executed notebooks in a report."""
