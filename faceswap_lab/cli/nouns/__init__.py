"""Commands about stored things, with a module for each noun."""
