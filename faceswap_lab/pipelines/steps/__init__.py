"""One step of a pipeline: what identifies it, the process that it runs in, and how that is watched and ended."""
