"""What may leave of a run's record, and what a run was made from."""
