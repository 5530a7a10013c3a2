"""The page of a bench run: its tables, and the best, median and worst pictures."""
