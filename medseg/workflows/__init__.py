"""The steps that every interface calls: read, check, predict, write, and what made the result."""
