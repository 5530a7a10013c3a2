"""The command line, with a module for each command or noun: its arguments, and what it calls."""
