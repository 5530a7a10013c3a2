"""What a swap changed of a picture, kept without the rest of it: patches, their file, and the frames composed from them."""
