"""Our own eyes: two small networks that read a face (points, labels; actions, gaze, pose), trained on actors alone."""
