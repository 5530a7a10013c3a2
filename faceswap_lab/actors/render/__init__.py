"""From a scene to its picture and to everything that is true of it."""
