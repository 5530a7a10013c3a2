"""What makes runs: a folder for each large verb, each with the handle of what it makes."""
