"""What is loaded, from where, and under which licence."""
