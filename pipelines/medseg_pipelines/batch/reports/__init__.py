"""Telling: screens, tables and reports of a batch."""
