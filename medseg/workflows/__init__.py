"""The journeys every door calls: read, check, predict, write, and what made the result."""
