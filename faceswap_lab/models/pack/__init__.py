"""Training and export of the pack `actors_s`: pictures, three networks and their ONNX files."""
