"""Renders scenes to images and their ground truth."""
