"""Maintaining a lab: diagnostics, packages, weights on disk, and erasing a person's data."""
