"""`evaluate`: scores of a swap, with floor and ceiling."""
