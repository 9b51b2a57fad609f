"""Finding: which scans an archive holds, and which of them are wanted."""
