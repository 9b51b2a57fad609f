"""Working: processes that read, segment and write cases."""
