"""What one seed looks like: traits, shape, skin, hair, what is worn, and a figure made of two."""
