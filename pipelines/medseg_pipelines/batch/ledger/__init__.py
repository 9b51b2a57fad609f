"""Keeping: what became of each case, who has it in hand, and where its results stand."""
