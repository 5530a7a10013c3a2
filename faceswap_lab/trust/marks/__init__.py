"""What a file says of its own making: the mark that is written, and the claims that are read."""
