"""A whole archive with one model, unattended; nothing lost, nothing done twice."""
