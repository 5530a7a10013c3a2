"""The demo's page and what stands before it: look, words, guard, server."""
