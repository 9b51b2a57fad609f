"""What is in a file, folder or archive: scans, series, facts from headers, verdicts."""

from medseg.discovery.scans import ScanSource, find_scans

__all__ = ["ScanSource", "find_scans"]
