"""The appearance of a seed: traits, shape, skin, hair, accessories, and the recast of two people."""
