"""What draws faces: the trained pair, the warp, and files of the inswapper kind."""
