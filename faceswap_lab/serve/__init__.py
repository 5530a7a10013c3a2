"""A link to try the lab: the demo in the browser."""
