"""Triangle rendering: vector operations, the rasteriser and shadow maps. Nothing here is specific to heads."""
