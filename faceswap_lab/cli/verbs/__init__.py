"""Commands that do work and make a run, a module each."""
