"""Faces in images: frames, footage, detections, crops and blending. Needs numpy, OpenCV and PyAV, never torch."""
