"""Training: cases from corrections, training, models, what to correct next, and comparisons."""
