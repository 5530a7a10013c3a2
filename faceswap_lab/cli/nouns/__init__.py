"""Commands about what is there and kept, a module for each noun."""
