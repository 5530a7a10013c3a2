"""The sound of a video that is written: copied, encoded anew, or left out."""
