"""Looking after a lab: the doctor, packages, weights on the disk, and erasing a person."""
