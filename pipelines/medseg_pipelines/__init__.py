"""Workflows at the command line: scans in, label maps, models and scores out."""
