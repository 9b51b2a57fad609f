"""What is in a file, folder or archive: scans, series, facts from headers, verdicts."""

from medseg.discovery.scans import ScanSource, Survey, find_scans, survey

__all__ = ["ScanSource", "Survey", "find_scans", "survey"]
