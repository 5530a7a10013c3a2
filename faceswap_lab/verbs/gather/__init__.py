"""`gather`: faces from files, measured, selected and split."""
