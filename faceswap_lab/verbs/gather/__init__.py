"""`gather`: faces extracted from files, measured, selected and split."""
