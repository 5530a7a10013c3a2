"""The head that all actors share: mesh, rig, hair curtain and where the landmarks lie on it."""
