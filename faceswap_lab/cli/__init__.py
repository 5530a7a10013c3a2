"""The command line, a module for each command or noun: how it is written, and what it calls."""
