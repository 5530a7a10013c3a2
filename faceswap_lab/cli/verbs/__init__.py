"""Commands that do work and make a run, with a module each."""
