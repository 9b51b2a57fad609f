"""Saving: files, key images and reports of a label map, and how it came about."""
