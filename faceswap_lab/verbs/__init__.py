"""The verbs, which make runs: a folder for each large one, with the class of its runs."""
