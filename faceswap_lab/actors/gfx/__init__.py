"""Drawing triangles: vectors, the rasteriser and shadow maps. It knows of no head."""
