"""`evaluate`: a swap beside its floor and its ceiling."""
