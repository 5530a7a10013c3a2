"""How the pack `actors_s` is made: pictures, three networks and their ONNX files."""
