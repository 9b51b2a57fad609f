"""Models of other programs: their folders read as they lie, none of their code run."""
