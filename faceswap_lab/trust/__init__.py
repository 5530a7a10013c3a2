"""Who agreed to what, what came in, what went out, and how it is marked."""
