"""What is told of a pipeline's end, and the ways by which it is told."""
