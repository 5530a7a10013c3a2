"""Face engines: detection, landmarks and recognition."""
