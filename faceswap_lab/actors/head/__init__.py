"""The head shared by all actors: mesh, rig, hair curtain and landmark positions."""
