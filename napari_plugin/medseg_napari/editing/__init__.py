"""Editing: labels, tools and brush on a Labels layer, and what is kept in case of a crash."""
